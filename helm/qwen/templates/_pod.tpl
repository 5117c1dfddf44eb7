{{/* Labels that select the engine's pods; they never change. */}}
{{- define "qwen.selector" -}}
app.kubernetes.io/name: qwen
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: engine
{{- end }}

{{/* Labels that select the pods with an HTTP server: of a group of hosts the first. */}}
{{- define "qwen.answering" -}}
{{ include "qwen.selector" . }}
{{- if gt (int .Values.gpu.hosts) 1 }}
leaderworkerset.sigs.k8s.io/worker-index: "0"
{{- end }}
{{- end }}

{{/* Whether there are times without any engine, in which the waiting room answers: "true" or nothing. */}}
{{- define "qwen.waitingRoom" -}}
{{- $replicas := ternary .Values.autoscaling.min .Values.replicas .Values.autoscaling.enabled | int }}
{{- if and .Values.rollout.waitingRoom (eq $replicas 1) (not .Values.rollout.spareReplicas) (eq (int .Values.gpu.hosts) 1) }}true{{ end }}
{{- end }}

{{/* Labels that select the waiting room; its component changes. */}}
{{- define "qwen.waitingRoomSelector" -}}
app.kubernetes.io/name: qwen
app.kubernetes.io/instance: {{ .Release.Name }}
qwenkit.dev/waiting-room: "true"
{{- end }}

{{/* Who may ask the API: the clients, and whoever they are the release's own pods, helm test and the waiting room. */}}
{{- define "qwen.clients" -}}
{{ .Values.networkPolicy.from | default (list (dict "podSelector" dict)) | toYaml }}
- podSelector: {matchLabels: {app.kubernetes.io/name: qwen, app.kubernetes.io/instance: {{ .Release.Name }}}}
{{- end }}

{{/* Labels of every object of the release. */}}
{{- define "qwen.labels" -}}
app.kubernetes.io/name: qwen
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Pod Security "restricted", the pod's half. */}}
{{- define "qwen.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int .Values.securityContext.runAsUser }}
runAsGroup: {{ int .Values.securityContext.runAsGroup }}
fsGroup: {{ int .Values.securityContext.runAsGroup }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Pod Security "restricted", the container's half. */}}
{{- define "qwen.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: {{ .Values.securityContext.readOnlyRootFilesystem }}
{{- end }}

{{/* Where a pod of the release may run: the engine, and the test that uses its image. */}}
{{- define "qwen.placement" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
