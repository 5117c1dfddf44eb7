{{/* The Grafana dashboard of files/monitoring/dashboard.yaml as JSON: two panels a line, a title over each row. */}}
{{- define "qwen.dashboard" -}}
{{- $root := . }}
{{- $settings := include "qwen.monitored" . | fromYaml }}
{{- $prometheus := dict "type" "prometheus" "uid" "${datasource}" }}
{{- $panels := list }}
{{- $y := 0 }}
{{- range $row := .Files.Get "files/monitoring/dashboard.yaml" | fromYamlArray }}
{{- if or (not $row.needs) (get $settings (default "" $row.needs)) }}
{{- $panels = append $panels (dict "id" (add1 (len $panels)) "type" "row" "title" $row.row "collapsed" false "panels" list "gridPos" (dict "x" 0 "y" $y "w" 24 "h" 1)) }}
{{- $y = add1 $y }}
{{- range $at, $panel := $row.panels }}
{{- $targets := list }}
{{- range $legend, $query := $panel.show }}
{{- $targets = append $targets (dict "refId" $query "datasource" $prometheus "expr" (include "qwen.query" (list $root $query)) "legendFormat" $legend) }}
{{- end }}
{{- $panels = append $panels (dict
  "id" (add1 (len $panels))
  "type" "timeseries"
  "title" $panel.title
  "datasource" $prometheus
  "gridPos" (dict "x" (mul 12 (mod $at 2)) "y" (add $y (mul 8 (div $at 2))) "w" 12 "h" 8)
  "fieldConfig" (dict "defaults" (dict "unit" $panel.unit "min" 0) "overrides" list)
  "options" (dict "legend" (dict "displayMode" "list" "placement" "bottom" "showLegend" true))
  "targets" $targets) }}
{{- end }}
{{- $y = add $y (mul 8 (div (add1 (len $row.panels)) 2)) }}
{{- end }}
{{- end }}
{{- dict
  "uid" (printf "%s/%s" .Release.Namespace .Release.Name | sha256sum | trunc 20)
  "title" (printf "%s in %s (%s)" .Release.Name .Release.Namespace .Values.engine)
  "tags" (list "qwen")
  "schemaVersion" 39
  "refresh" "30s"
  "time" (dict "from" "now-1h" "to" "now")
  "templating" (dict "list" (list (dict "name" "datasource" "label" "Prometheus" "type" "datasource" "query" "prometheus")))
  "panels" $panels
  | toPrettyJson }}
{{- end }}
