{{/* What is wrong with model, adapters and offline, as a YAML list of sentences. */}}
{{- define "qwen.weightsRefusals" -}}
{{- $v := .Values }}
{{- $source := $v.model.source }}
{{- $isFetched := include "qwen.isFetched" . }}
{{- $forms := dict
  "hub" (list "^[-A-Za-z0-9._]+/[-A-Za-z0-9._]+$" "a repository, for example Qwen/Qwen3-8B-FP8")
  "s3" (list "^s3://[a-z0-9][-a-z0-9.]+(/.*)?$" "s3://bucket/prefix")
  "pvc" (list "^[a-z0-9][-a-z0-9.]*(/[^/].*)?$" "the claim that holds the weights, or claim/folder")
  "hostPath" (list "^/." "a folder of the node, from its root")
  "image" (list "^[a-z0-9][^@]*@sha256:[0-9a-f]{64}$" "an image by its digest, name@sha256:...")
}}
{{- $form := get $forms $source }}
{{- range $old, $new := dict "claim" "uri" "tokenSecret" "secret" }}
{{- with get $v.model $old }}
- {{ printf "model.%s is %q, but since chart 0.2.0 that value is model.%s; rename it." $old (toString .) $new | quote }}
{{- end }}
{{- end }}
{{- range include "qwen.weights" . | fromYamlArray }}
{{- $key := ternary "model.uri" (printf "the uri of adapter %s" .name) (eq .mount "/models") }}
{{- if or (not (regexMatch (index $form 0) .uri)) (contains ".." .uri) }}
- {{ printf "model.source is %s but %s is %q; set it to %s." $source $key .uri (index $form 1) | quote }}
{{- end }}
{{- end }}
{{- if and $v.model.secret (not $isFetched) }}
- {{ printf "model.secret is for sources hub and s3, but model.source is %s; clear one of them." $source | quote }}
{{- end }}
{{- if and $v.model.endpoint (not $isFetched) }}
- {{ printf "model.endpoint is for sources hub and s3, but model.source is %s; clear one of them." $source | quote }}
{{- end }}
{{- if contains "@" $v.model.endpoint }}
- "model.endpoint carries a name or password before its @, which everybody could read; put credentials into a Secret and name it in model.secret."
{{- end }}
{{- if and (ne $source "hub") (ne $v.model.revision "main") }}
- {{ printf "model.revision is %q but only source hub has revisions, and model.source is %s; put each version under its own uri." $v.model.revision $source | quote }}
{{- end }}
{{- if and $v.model.predownload (not $isFetched) }}
- {{ printf "model.predownload is for sources hub and s3, but model.source is %s, which needs no download; clear one of them." $source | quote }}
{{- end }}
{{- if and $v.model.predownload $isFetched (ne $v.cache.type "pvc") }}
- {{ printf "model.predownload is true but cache.type is %s, which the Job and the pods cannot share; set cache.type to pvc." $v.cache.type | quote }}
{{- end }}
{{- if and $v.model.predownload (eq $v.cache.accessMode "ReadWriteOncePod") }}
- "model.predownload is true but cache.accessMode is ReadWriteOncePod, and the Job and a pod that waits for it both mount the claim; set ReadWriteOnce or ReadWriteMany."
{{- end }}
{{- if and (eq $source "image") (semverCompare "<1.35-0" .Capabilities.KubeVersion.Version) }}
- {{ printf "model.source is image but the cluster is Kubernetes %s; image volumes are on by default from 1.35 (feature gate ImageVolume): use another source." .Capabilities.KubeVersion.Version | quote }}
{{- end }}
{{- if $v.offline }}
{{- if and $isFetched (not $v.model.predownload) }}
- {{ printf "offline is true but every pod would fetch its weights (model.source %s); set model.predownload with a cache claim, or model.source to pvc, hostPath or image." $source | quote }}
{{- end }}
{{- if $v.networkPolicy.egress }}
- "offline is true but networkPolicy.egress lets the pods reach out; clear one of them."
{{- end }}
{{- if not $v.networkPolicy.enabled }}
- "offline is true but networkPolicy.enabled is false, so nothing keeps the pods from reaching out; enable it."
{{- end }}
{{- end }}
{{- end }}
