{{/* Port of probes and metrics. The Service does not publish it. */}}
{{- define "qwen.opsPort" -}}8001{{- end }}

{{/* Where preStop and the guard meet: lives as long as the pod. */}}
{{- define "qwen.stateFolder" -}}/tmp{{- end }}

{{/* What files/guard.py reads: the allow-list and questions of the served API, and where keys and state are. */}}
{{- define "qwen.guardSettings" -}}
{{- $api := get (.Files.Get "files/apis.yaml" | fromYaml) .Values.api }}
{{- $warmUp := $api.warmUp }}
{{- if not (include "qwen.argumentOf" (list (concat .Values.args .Values.extraArgs) "--tool-call-parser")) }}
{{- $warmUp = omit $warmUp "tool" }}
{{- end }}
{{- dict
  "model" (include "qwen.servedName" .)
  "routes" $api.routes
  "withoutEngine" $api.withoutEngine
  "warmUp" $warmUp
  "afterWarmUp" (include "qwen.engine" . | fromYaml).afterWarmUp
  "heartbeat" (set $api.heartbeat "seconds" 30)
  "maxInFlight" (int .Values.queue.maxInFlight)
  "keysFile" (printf "/etc/qwen/%s" .Values.auth.secretKey)
  "stateFolder" (include "qwen.stateFolder" .)
  "opsPort" (include "qwen.opsPort" . | int)
  | toPrettyJson }}
{{- end }}

{{/* Every file that the engine's container runs or reads at /opt/qwen, by name. */}}
{{- define "qwen.engineFiles" -}}
{{- $launcher := (include "qwen.engine" . | fromYaml).launcher }}
{{- range $name := list "guard.py" "guard_engine.py" "guard_keys.py" "guard_leaving.py" "guard_ops.py" $launcher | compact }}
{{ $name }}: | {{- $.Files.Get (printf "files/%s" $name) | nindent 2 }}
{{- end }}
guard.json: | {{- include "qwen.guardSettings" . | nindent 2 }}
{{- end }}

{{/* How long a pod that has left still says so: the waiting room sees it and takes its place, SIGTERM comes after. */}}
{{- define "qwen.handoverSeconds" -}}5{{- end }}

{{/* First the word to keep-alive clients, then the refusals. */}}
{{- define "qwen.preStop" -}}
{{- $folder := include "qwen.stateFolder" . -}}
touch {{ $folder }}/leaving; sleep {{ sub .Values.drain.preStopSeconds (include "qwen.handoverSeconds" . | int) }}; touch {{ $folder }}/left; sleep {{ include "qwen.handoverSeconds" . }}
{{- end }}
