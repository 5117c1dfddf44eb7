{{/* How an upgrade replaces replicas: without a spare GPU a surging one would stay Pending for ever. */}}
{{- define "qwen.rollingUpdate" -}}
maxSurge: {{ int .Values.rollout.spareReplicas }}
maxUnavailable: {{ ternary 0 1 (gt (int .Values.rollout.spareReplicas) 0) }}
{{- end }}

{{/* The most replicas that there may be. */}}
{{- define "qwen.mostReplicas" -}}
{{- int (ternary .Values.autoscaling.max .Values.replicas .Values.autoscaling.enabled) }}
{{- end }}

{{/* Seconds of fewer requests before a replica goes: longer than one takes to come back; 3600 is Kubernetes' most. */}}
{{- define "qwen.scaleDownSeconds" -}}
{{- min 3600 (include "qwen.progressDeadlineSeconds" .) }}
{{- end }}

{{/* Replicas keep apart where they can: a node or a zone that is lost takes as few as possible. */}}
{{- define "qwen.spread" -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- include "qwen.selector" $ | nindent 6 }}
  matchLabelKeys: [pod-template-hash]  # the pods that a roll-out replaces do not count
{{- end }}
{{- end }}
