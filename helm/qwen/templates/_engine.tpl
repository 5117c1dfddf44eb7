{{/* The engine's entry of files/engines.yaml, as YAML; vllm-cpu is vllm. */}}
{{- define "qwen.engine" -}}
{{- index (.Files.Get "files/engines.yaml" | fromYaml) (trimSuffix "-cpu" .Values.engine) | toYaml }}
{{- end }}

{{/* The value of a flag in an argument list ("" if absent). Argument: list of (arguments, flag). */}}
{{- define "qwen.argumentOf" -}}
{{- $arguments := index . 0 }}
{{- $flag := index . 1 }}
{{- $value := "" }}
{{- range $i, $argument := $arguments }}
{{- if hasPrefix (printf "%s=" $flag) $argument }}
{{- $value = trimPrefix (printf "%s=" $flag) $argument }}
{{- else if and (eq $argument $flag) (lt (add1 $i) (len $arguments)) }}
{{- $value = index $arguments (add1 $i) }}
{{- end }}
{{- end }}
{{- $value }}
{{- end }}

{{/* The same for a flag with several names. Argument: list of (arguments, flags). */}}
{{- define "qwen.argumentOfAny" -}}
{{- $value := "" }}
{{- range $flag := index . 1 }}
{{- $value = include "qwen.argumentOf" (list (index $ 0) $flag) | default $value }}
{{- end }}
{{- $value }}
{{- end }}

{{/* A quantity of Kubernetes as a plain number of bytes. */}}
{{- define "qwen.bytes" -}}
{{- $units := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 }}
{{- $quantity := kindIs "string" . | ternary . (printf "%.0f" (float64 .)) }}
{{- $number := regexFind "^[0-9.]+" $quantity }}
{{- mulf ($number | float64) (get $units (trimPrefix $number $quantity) | float64) }}
{{- end }}

{{/* The port the engine listens on: the arguments are its one source. */}}
{{- define "qwen.port" -}}
{{- include "qwen.argumentOf" (list (concat .Values.args .Values.extraArgs) "--port") }}
{{- end }}

{{/* The name that clients put into "model". */}}
{{- define "qwen.servedName" -}}
{{- include "qwen.argumentOf" (list (concat .Values.args .Values.extraArgs) "--served-model-name") }}
{{- end }}

{{/* repository:tag[@digest] */}}
{{- define "qwen.image" -}}
{{- with .Values.image }}{{ .repository }}:{{ .tag }}{{ with .digest }}@{{ . }}{{ end }}{{ end }}
{{- end }}

{{/* SIGTERM comes after preStop; the engine then drains, and needs up to 8 s more to exit (measured, both engines). */}}
{{- define "qwen.graceSeconds" -}}
{{- add .Values.drain.preStopSeconds .Values.drain.seconds 15 }}
{{- end }}

{{/* The old pod leaves, image and weights are fetched, the new pod starts: no progress is seen before. */}}
{{- define "qwen.progressDeadlineSeconds" -}}
{{- $weightsCome := has .Values.model.source (list "hub" "s3" "image") }}
{{- add (include "qwen.graceSeconds" .) .Values.startup.imagePullSeconds (ternary .Values.startup.fetchSeconds 0 $weightsCome) .Values.startup.budgetSeconds }}
{{- end }}

{{/* Name of the Secret with the API keys. */}}
{{- define "qwen.keySecret" -}}
{{- .Values.auth.existingSecret | default (printf "%s-key" .Release.Name) }}
{{- end }}

{{/* The volume with the API keys, a file under the name of their key: what is in it changes without a restart. */}}
{{- define "qwen.keysVolume" -}}
- name: keys
  secret:
    secretName: {{ include "qwen.keySecret" . | quote }}
    items: [{key: {{ .Values.auth.secretKey | quote }}, path: {{ .Values.auth.secretKey | quote }}}]
{{- end }}

{{/* Environment of the engine, as a YAML list: the chart's variables, the engine's, the plan's; the last one wins. */}}
{{- define "qwen.environment" -}}
{{- $engine := include "qwen.engine" . | fromYaml }}
{{- $plain := dict "HOME" "/home/qwen" "TORCHINDUCTOR_CACHE_DIR" "/home/qwen/.cache/torchinductor" "DO_NOT_TRACK" "1" "HF_HUB_OFFLINE" "1" "PYTHONPATH" "/opt/qwen" "QWENKIT_GUARD" "/opt/qwen/guard.json" }}
{{- /* A UID without a passwd entry has no user name, and PyTorch asks for one. */}}
{{- $_ := set $plain "USER" "qwen" }}
{{- with $engine.readyTimeoutVariable }}
{{- $_ := set $plain . (int $.Values.startup.budgetSeconds | toString) }}
{{- end }}
{{- range $name, $value := merge (dict) .Values.env $engine.env $plain }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
