{{/* The engine's pod: the same wherever it is placed. */}}
{{- define "qwen.podTemplate" -}}
{{- $engine := include "qwen.engine" . | fromYaml }}
metadata:
  labels: {{- include "qwen.selector" . | nindent 4 }}
  annotations:
    qwenkit.dev/files: {{ include "qwen.engineFiles" . | sha256sum }}
    # Of the pods' role on EKS only the container that fetches has need.
    eks.amazonaws.com/skip-containers: engine
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ .Values.serviceAccount.name | quote }}
  automountServiceAccountToken: false
  # A Service named vllm would else set VLLM_PORT.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "qwen.graceSeconds" . }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . | quote }}
  {{- end }}
  {{- include "qwen.placement" . | trim | nindent 2 }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- if eq (int .Values.gpu.hosts) 1 }}
  topologySpreadConstraints: {{- include "qwen.spread" . | trim | nindent 4 }}
  {{- end }}
  securityContext: {{- include "qwen.podSecurity" . | nindent 4 }}
  {{- if include "qwen.isFetched" . }}
  initContainers: {{- include "qwen.fetchContainer" (list . (ternary (list "--wait") list .Values.model.predownload)) | trim | nindent 4 }}
  {{- end }}
  containers:
    - name: engine
      image: {{ include "qwen.image" . | quote }}
      imagePullPolicy: IfNotPresent
      {{- with $engine.launcher }}
      command: [python3, /opt/qwen/{{ . }}]
      {{- end }}
      args:
        {{- toYaml .Values.args | nindent 8 }}
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- toYaml $engine.guardArguments | nindent 8 }}
        {{- with $engine.drainFlag }}
        - {{ . }}
        - {{ int $.Values.drain.seconds | quote }}
        {{- end }}
      env: {{- include "qwen.environment" . | trim | nindent 8 }}
      ports:
        - {name: http, containerPort: {{ include "qwen.port" . }}}
        - {name: ops, containerPort: {{ include "qwen.opsPort" . }}}
      securityContext: {{- include "qwen.containerSecurity" . | nindent 8 }}
      resources:
        {{- $gpus := dict }}
        {{- if .Values.gpu.count }}
        {{- $gpus = dict .Values.gpu.resource (int .Values.gpu.count) }}
        {{- end }}
        requests: {{- merge (dict) $gpus .Values.resources.requests | toYaml | nindent 10 }}
        limits: {{- merge (dict) $gpus .Values.resources.limits | toYaml | nindent 10 }}
      lifecycle:
        preStop: {exec: {command: [sh, -c, {{ include "qwen.preStop" . | quote }}]}}
      # Ready is warm. A hung engine is healthy here: alerts find it. A busy one must not be killed: long timeouts.
      startupProbe:
        httpGet: {path: /ready, port: ops}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: {{ div (add .Values.startup.budgetSeconds 4) 5 }}
      readinessProbe:
        httpGet: {path: /ready, port: ops}
        periodSeconds: 5
        timeoutSeconds: 5
        failureThreshold: 3
      livenessProbe:
        httpGet: {path: /health, port: ops}
        periodSeconds: 10
        timeoutSeconds: 10
        failureThreshold: 6
      volumeMounts:
        - {name: cache, mountPath: /home/qwen, subPath: home}
        - {name: tmp, mountPath: /tmp}
        - {name: shm, mountPath: /dev/shm}
        - {name: files, mountPath: /opt/qwen, readOnly: true}
        - {name: keys, mountPath: /etc/qwen, readOnly: true}
        {{- include "qwen.weightsMounts" . | trim | nindent 8 }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "qwen.cacheVolume" . | trim | nindent 4 }}
    - {name: tmp, emptyDir: {sizeLimit: 4Gi}}
    - {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ .Values.shmSize }}}}
    - {name: files, configMap: {name: {{ .Release.Name }}-files}}
    {{- include "qwen.keysVolume" . | nindent 4 }}
    {{- with include "qwen.weightsVolumes" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- if and (include "qwen.isFetched" .) (not .Values.model.predownload) .Values.model.secret }}
    {{- include "qwen.fetchSecret" . | trim | nindent 4 }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
