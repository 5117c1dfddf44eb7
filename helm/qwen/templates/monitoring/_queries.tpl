{{/* What the release fills into files/monitoring/*.yaml, by name, as YAML. */}}
{{- define "qwen.monitored" -}}
{{- $series := index (.Files.Get "files/monitoring/metrics.yaml" | fromYaml) (trimSuffix "-cpu" .Values.engine) }}
{{- /* A Deployment's pods, or a LeaderWorkerSet's; not those of a release whose name begins alike. */}}
{{- $pod := printf "%s-([0-9a-z]+-[0-9a-z]{5}|[0-9]+(-[0-9]+)?)" .Release.Name }}
{{- $pods := printf "namespace=%q,pod=~%q" .Release.Namespace $pod }}
{{- range $name, $value := omit $series "only" }}
engine.{{ $name }}: {{ $value }}
{{- end }}
engine.pods: {{ list $pods $series.only | compact | join "," | quote }}
pods: {{ $pods | quote }}
fetchPods: {{ printf "namespace=%q,pod=~%q,container=\"fetch\"" .Release.Namespace (printf "%s-fetch-[0-9a-f]{8}-[0-9a-z]{5}" .Release.Name) | quote }}
exportedPods: {{ printf "exported_namespace=%q,exported_pod=~%q" .Release.Namespace $pod | quote }}
gpus: {{ int .Values.gpu.count }}
startSeconds: {{ include "qwen.progressDeadlineSeconds" . }}
{{- range $name, $value := .Values.targets }}
{{ $name }}: {{ $value }}
{{- end }}
Statistic: {{ title .Values.targets.statistic }}
{{- end }}

{{/* A text with the settings of the release filled in. Argument: list of (root, text). */}}
{{- define "qwen.withSettings" -}}
{{- $text := index . 1 }}
{{- range $name, $value := include "qwen.monitored" (index . 0) | fromYaml }}
{{- $text = $text | replace (printf "<%s>" $name) (toString $value) }}
{{- end }}
{{- $text }}
{{- end }}

{{/* The PromQL of a query of files/monitoring/queries.yaml. Argument: list of (root, name). */}}
{{- define "qwen.query" -}}
{{- $query := required (printf "no query is called %s" (index . 1)) (get ((index . 0).Files.Get "files/monitoring/queries.yaml" | fromYaml) (index . 1)) }}
{{- include "qwen.withSettings" (list (index . 0) $query) }}
{{- end }}

{{/* An expression over queries: settings first, since a query's name may hold one. Argument: list of (root, text). */}}
{{- define "qwen.expression" -}}
{{- $root := index . 0 }}
{{- $text := include "qwen.withSettings" . }}
{{- range regexFindAll "<\\w+>" $text -1 }}
{{- $text = $text | replace . (printf "(%s)" (include "qwen.query" (list $root (trimAll "<>" .)))) }}
{{- end }}
{{- $text }}
{{- end }}

{{/* Labels of an object that Prometheus or Grafana looks for. */}}
{{- define "qwen.monitoringLabels" -}}
{{- merge (dict) .Values.monitoring.labels (include "qwen.labels" . | fromYaml) | toYaml }}
{{- end }}
