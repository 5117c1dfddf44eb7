{{/* "true" where a container of the chart brings the weights to the cache volume; "" where a volume holds them. */}}
{{- define "qwen.isFetched" -}}
{{- if has .Values.model.source (list "hub" "s3") }}true{{ end }}
{{- end }}

{{/*
What the engine reads, as a YAML list: the model first, then the adapters. folder: below weights/ of the cache volume;
it says what is in it, so that another revision is another folder. volume: its name where it is not fetched.
*/}}
{{- define "qwen.weights" -}}
{{- $model := .Values.model }}
{{- $all := list (dict "name" "model" "mount" "/models" "uri" $model.uri "revision" $model.revision) }}
{{- range .Values.adapters }}
{{- $mount := printf "/adapters/%s" .name }}
{{- $all = append $all (dict "name" .name "mount" $mount "uri" .uri "revision" (.revision | default "main")) }}
{{- end }}
{{- range $i, $one := $all }}
{{- $content := join " " (list $model.source $model.endpoint $one.uri $one.revision) | sha256sum | trunc 12 }}
{{- $_ := set $one "folder" (printf "%s-%s" $.Release.Name $content) }}
{{- $_ := set $one "volume" (ternary "model" (printf "adapter-%d" $i) (eq $i 0)) }}
{{- end }}
{{- toYaml $all }}
{{- end }}

{{/* The engine's mounts of what it reads. */}}
{{- define "qwen.weightsMounts" -}}
{{- range include "qwen.weights" . | fromYamlArray }}
{{- if include "qwen.isFetched" $ }}
- {name: cache, mountPath: {{ .mount }}, subPath: weights/{{ .folder }}, readOnly: true}
{{- else if and (eq $.Values.model.source "pvc") (contains "/" .uri) }}
- {name: {{ .volume }}, mountPath: {{ .mount }}, subPath: {{ regexReplaceAll "^[^/]+/" .uri "" | quote }}, readOnly: true}
{{- else }}
- {name: {{ .volume }}, mountPath: {{ .mount }}, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{/* The volumes that hold what is not fetched. */}}
{{- define "qwen.weightsVolumes" -}}
{{- if not (include "qwen.isFetched" .) }}
{{- range include "qwen.weights" . | fromYamlArray }}
- name: {{ .volume }}
  {{- if eq $.Values.model.source "pvc" }}
  persistentVolumeClaim: {claimName: {{ regexReplaceAll "/.*$" .uri "" | quote }}, readOnly: true}
  {{- else if eq $.Values.model.source "hostPath" }}
  hostPath: {path: {{ .uri | quote }}, type: Directory}
  {{- else }}
  image: {reference: {{ .uri | quote }}, pullPolicy: IfNotPresent}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The cache volume. */}}
{{- define "qwen.cacheVolume" -}}
- name: cache
  {{- if eq .Values.cache.type "pvc" }}
  persistentVolumeClaim: {claimName: {{ .Values.cache.existingClaim | default (printf "%s-cache" .Release.Name) | quote }}}
  {{- else }}
  emptyDir: {sizeLimit: {{ .Values.cache.size }}}
  {{- end }}
{{- end }}

{{/* The container that brings the weights, or with "--wait" waits for the Job that does. Argument: list of (root, arguments). */}}
{{- define "qwen.fetchContainer" -}}
{{- $ := index . 0 }}
{{- $limit := "" }}
{{- if eq $.Values.cache.type "emptyDir" }}
{{- $limit = include "qwen.bytes" $.Values.cache.size | float64 | int64 }}
{{- end }}
{{- $model := $.Values.model }}
- name: fetch
  image: {{ include "qwen.image" $ | quote }}
  imagePullPolicy: IfNotPresent
  command: {{ concat (list "python3" "/opt/qwen/fetch.py") (index . 1) | toJson }}
  env:
    - name: FETCH
      value: {{ dict "source" $model.source "endpoint" $model.endpoint "secret" $model.secret "owner" $.Release.Name "limit" ($limit | default nil) "wanted" (include "qwen.weights" $ | fromYamlArray) | toJson | quote }}
    - {name: HOME, value: /tmp}
    - {name: HF_HUB_DISABLE_TELEMETRY, value: "1"}
  securityContext: {{- include "qwen.containerSecurity" $ | nindent 4 }}
  resources:
    requests: {cpu: 500m, memory: 512Mi}
    limits: {memory: 2Gi}
  volumeMounts:
    - {name: cache, mountPath: /cache}
    - {name: tmp, mountPath: /tmp}
    - {name: files, mountPath: /opt/qwen, readOnly: true}
    {{- if and $model.secret (not (index . 1)) }}
    - {name: secret, mountPath: /run/secrets/model, readOnly: true}
    {{- end }}
{{- end }}

{{/* The Secret of the container that fetches. That it is missing is said by the container, in its log. */}}
{{- define "qwen.fetchSecret" -}}
{{- with .Values.model.secret }}
- {name: secret, secret: {secretName: {{ . | quote }}, optional: true, defaultMode: 0440}}
{{- end }}
{{- end }}

{{/* What a pod that fetches must reach, as a YAML list of egress rules: names, the source, and AWS's credentials. */}}
{{- define "qwen.fetchEgress" -}}
{{- $port := 443 }}
{{- with .Values.model.endpoint }}
{{- $url := urlParse . }}
{{- $port = regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "443" "80" (eq $url.scheme "https")) | int }}
{{- end }}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}, {port: {{ $port }}, protocol: TCP}]
{{- if and (eq .Values.model.source "s3") (not .Values.model.secret) }}
- to: [{ipBlock: {cidr: 169.254.170.23/32}}, {ipBlock: {cidr: "fd00:ec2::23/128"}}]
  ports: [{port: 80, protocol: TCP}]
{{- end }}
{{- end }}

{{/* The pod of the Job that fetches before the engine's pods need it. */}}
{{- define "qwen.fetchJobPod" -}}
metadata:
  labels:
    app.kubernetes.io/name: qwen
    app.kubernetes.io/instance: {{ .Release.Name }}
    app.kubernetes.io/component: fetch
spec:
  serviceAccountName: {{ .Values.serviceAccount.name | quote }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  restartPolicy: OnFailure
  {{- include "qwen.placement" . | trim | nindent 2 }}
  {{- if and (eq .Values.cache.accessMode "ReadWriteOnce") (include "qwen.mostReplicas" . | int) }}
  # The claim is on one node at a time: an engine's pod that waits for this one would keep it from another node for ever.
  affinity:
    podAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- include "qwen.selector" . | nindent 14 }}
  {{- end }}
  securityContext: {{- include "qwen.podSecurity" . | nindent 4 }}
  containers: {{- include "qwen.fetchContainer" (list . list) | trim | nindent 4 }}
  volumes:
    {{- include "qwen.cacheVolume" . | trim | nindent 4 }}
    {{- include "qwen.fetchSecret" . | trim | nindent 4 }}
    - {name: tmp, emptyDir: {sizeLimit: 1Gi}}
    - {name: files, configMap: {name: {{ .Release.Name }}-files}}
{{- end }}
