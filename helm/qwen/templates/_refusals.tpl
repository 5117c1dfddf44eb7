{{/*
Values that contradict each other or the cluster's rules: all problems at once, one sentence each, with the remedy.
What a schema can say (types, ranges, names, unknown keys) is in values.schema.json.
*/}}
{{- define "qwen.refusals" -}}
{{- $v := .Values }}
{{- $engine := include "qwen.engine" . | fromYaml }}
{{- $arguments := concat $v.args $v.extraArgs }}
{{- $problems := list }}

{{- /* Kubernetes labels a StatefulSet's pods with its name and a hash, the waiting room's among them: 63 in all. */}}
{{- if gt (len .Release.Name) 39 }}
{{- $problems = append $problems (printf "the release name %q has %d characters, too many for the names of pods; use at most 39." .Release.Name (len .Release.Name)) }}
{{- end }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" .Release.Name) }}
{{- $problems = append $problems (printf "the release name %q cannot name a Service; use lower-case letters, digits and dashes, a letter first." .Release.Name) }}
{{- end }}

{{- if not $v.image.repository }}
{{- $problems = append $problems "image.repository is empty; install with -f deployments/<name>/values.yaml, which names the planned image." }}
{{- end }}
{{- if not $v.image.tag }}
{{- $problems = append $problems "image.tag is empty; name an exact release, for example v0.32.0-cu129." }}
{{- else if and (regexMatch "^(latest|nightly|main|master|dev|stable|edge)([-_.]|$)" $v.image.tag) (not (regexMatch "[0-9a-f]{7,}$" $v.image.tag)) }}
{{- $problems = append $problems (printf "image.tag is %q, which changes under a running deployment; name an exact release, for example v0.32.0-cu129." $v.image.tag) }}
{{- end }}

{{- if not $v.args }}
{{- $problems = append $problems "args is empty; install with -f deployments/<name>/values.yaml, which carries the planned arguments." }}
{{- else }}
{{- range $flag, $use := dict "--port" "the Service sends to that port" "--host" "without 0.0.0.0 the Service may not reach the engine" "--served-model-name" "clients and helm test ask for that name" }}
{{- if not (include "qwen.argumentOf" (list $arguments $flag)) }}
{{- $problems = append $problems (printf "args has no %s: %s; add it with its value." $flag $use) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $v.args (not (regexMatch "(^|[ =])/models(/| |$)" (join " " $arguments))) }}
{{- $problems = append $problems "args does not name /models, where the engine finds its weights; write /models instead of the model, whose source is model.uri." }}
{{- end }}
{{- $host := include "qwen.argumentOf" (list $arguments "--host") }}
{{- if has $host (list "127.0.0.1" "localhost" "::1") }}
{{- $problems = append $problems (printf "args has --host %s, where only the pod itself reaches the engine; set 0.0.0.0." $host) }}
{{- end }}
{{- $closed := dict "--api-key" "put the key into a Secret and name it in auth.existingSecret" "--admin-api-key" "the chart serves no administration routes" "--shutdown-timeout" "set drain.seconds, from which the grace period is derived too" }}
{{- range concat $engine.group $engine.worker }}
{{- if hasPrefix "--" . }}
{{- $_ := set $closed . "the chart tells each pod its place in the group; set gpu.hosts to the number of nodes" }}
{{- end }}
{{- end }}
{{- range $engine.closedFlags }}
{{- $_ := set $closed . "the guard that checks routes and keys would be lost, or not know the path; leave it out" }}
{{- end }}
{{- range $arguments }}
{{- /* vLLM takes --api_key for --api-key, and both engines take the beginning of a flag for the flag. */}}
{{- $flag := regexFind "^--?[a-z][^=]*" . | replace "_" "-" }}
{{- $meant := "" }}
{{- range $name, $_ := $closed }}
{{- if and $flag (hasPrefix $flag $name) (or (not $meant) (eq $flag $name)) }}
{{- $meant = $name }}
{{- end }}
{{- end }}
{{- with $meant }}
{{- $short := ternary "" (printf " (%s is short for it)" $flag) (eq $flag .) }}
{{- $problems = append $problems (printf "args must not contain %s%s: %s." . $short (get $closed .)) }}
{{- end }}
{{- end }}
{{- if eq (include "qwen.argumentOf" (list $arguments "--port")) (include "qwen.opsPort" .) }}
{{- $problems = append $problems (printf "args has --port %s, which is the port of probes and metrics; choose another, for example 8000." (include "qwen.opsPort" .)) }}
{{- end }}
{{- $names := keys $v.env }}
{{- range $v.extraEnv }}
{{- $names = append $names .name }}
{{- end }}
{{- range $name := $names }}
{{- if has $name (concat $engine.closedVariables (list "HF_TOKEN" "HUGGING_FACE_HUB_TOKEN" "PYTHONPATH" "QWENKIT_GUARD")) }}
{{- $problems = append $problems (printf "%s must not be set in env or extraEnv: keys come from auth.existingSecret, tokens from model.secret, development routes stay closed, and the guard stays in." $name) }}
{{- end }}
{{- end }}

{{- if eq $v.engine "vllm-cpu" }}
{{- if gt (int $v.gpu.hosts) 1 }}
{{- $problems = append $problems (printf "engine vllm-cpu runs on one node but gpu.hosts is %d; set gpu.hosts to 1 or choose engine vllm." (int $v.gpu.hosts)) }}
{{- end }}
{{- if $v.gpu.count }}
{{- $problems = append $problems (printf "engine vllm-cpu uses no GPU but gpu.count is %d; set gpu.count to 0 or choose engine vllm." (int $v.gpu.count)) }}
{{- end }}
{{- else }}
{{- $tensor := include "qwen.argumentOfAny" (list $arguments $engine.tensorParallelFlags) | default "1" | int }}
{{- $pipeline := include "qwen.argumentOfAny" (list $arguments $engine.pipelineParallelFlags) | default "1" | int }}
{{- if ne (mul $tensor $pipeline) (mul $v.gpu.count $v.gpu.hosts) }}
{{- $hosts := ternary "" (printf " and gpu.hosts is %d" (int $v.gpu.hosts)) (eq (int $v.gpu.hosts) 1) }}
{{- $problems = append $problems (printf "args spread the model over %d x %d GPUs (TP x PP) but gpu.count is %d%s; make them equal." $tensor $pipeline (int $v.gpu.count) $hosts) }}
{{- end }}
{{- end }}

{{- with $v.resources.limits.memory }}
{{- if gt (include "qwen.bytes" $v.shmSize | float64) (include "qwen.bytes" . | float64) }}
{{- $problems = append $problems (printf "shmSize is %s but resources.limits.memory is %v, and /dev/shm counts towards it; raise the limit or lower shmSize." $v.shmSize .) }}
{{- end }}
{{- end }}

{{- $problems = concat $problems (include "qwen.weightsRefusals" . | fromYamlArray) }}

{{- $pods := mul (add (include "qwen.mostReplicas" .) $v.rollout.spareReplicas) $v.gpu.hosts }}
{{- if and (eq $v.cache.type "pvc") (gt $pods 1) (ne $v.cache.accessMode "ReadWriteMany") }}
{{- $problems = append $problems (printf "the number of pods (replicas, or autoscaling.max, and rollout.spareReplicas, times gpu.hosts) is %d, but the cache volume has the single writer mode %s; set cache.accessMode to ReadWriteMany or cache.type to emptyDir." $pods $v.cache.accessMode) }}
{{- end }}
{{- if and (eq $v.cache.type "pvc") (not $v.cache.existingClaim) }}
{{- $claim := printf "%s-cache" .Release.Name }}
{{- with lookup "v1" "PersistentVolumeClaim" .Release.Namespace $claim }}
{{- $fixed := dict }}
{{- if not (has $v.cache.accessMode .spec.accessModes) }}
{{- $_ := set $fixed "accessMode" (list $v.cache.accessMode (first .spec.accessModes)) }}
{{- end }}
{{- $class := .spec.storageClassName | default "" }}
{{- if and $class $v.cache.storageClass (ne $v.cache.storageClass $class) }}
{{- $_ := set $fixed "storageClass" (list $v.cache.storageClass $class) }}
{{- end }}
{{- if lt (include "qwen.bytes" $v.cache.size | float64) (include "qwen.bytes" .spec.resources.requests.storage | float64) }}
{{- $_ := set $fixed "size" (list $v.cache.size .spec.resources.requests.storage) }}
{{- end }}
{{- range $key, $both := $fixed }}
{{- $problems = append $problems (printf "cache.%s is %s but the claim %s has %v, which Kubernetes does not let an upgrade change; set it back, or bring another claim (cache.existingClaim)." $key (index $both 0) $claim (index $both 1)) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $v.cache.existingClaim (ne $v.cache.type "pvc") }}
{{- $problems = append $problems (printf "cache.existingClaim is %q but cache.type is %s; set cache.type to pvc to use the claim." $v.cache.existingClaim $v.cache.type) }}
{{- end }}

{{- if and (ne $v.service.type "ClusterIP") $v.networkPolicy.enabled (not $v.networkPolicy.from) }}
{{- $problems = append $problems (printf "service.type is %s, but networkPolicy.from lets in only pods of the namespace; list the clients' ipBlock in networkPolicy.from." $v.service.type) }}
{{- end }}

{{- $wanted := dict }}
{{- if $v.monitoring.metrics }}
{{- $_ := set $wanted "monitoring.coreos.com/v1/PodMonitor" (list "monitoring.metrics" "the Prometheus Operator") }}
{{- end }}
{{- if $v.monitoring.alerts }}
{{- $_ := set $wanted "monitoring.coreos.com/v1/PrometheusRule" (list "monitoring.alerts" "the Prometheus Operator") }}
{{- end }}
{{- if gt (int $v.gpu.hosts) 1 }}
{{- $_ := set $wanted "leaderworkerset.x-k8s.io/v1/LeaderWorkerSet" (list "a replica over several nodes (gpu.hosts)" "LeaderWorkerSet") }}
{{- end }}
{{- $scaling := $v.autoscaling }}
{{- if $scaling.enabled }}
{{- $_ := set $wanted "keda.sh/v1alpha1/ScaledObject" (list "autoscaling" "KEDA") }}
{{- if not $scaling.min }}
{{- $problems = append $problems "autoscaling.min is 0, but without a replica nobody counts the requests that wait, so none would ever start again; set it to 1 or more." }}
{{- end }}
{{- if gt (int $scaling.min) (int $scaling.max) }}
{{- $problems = append $problems (printf "autoscaling.min is %d but autoscaling.max is %d; make max the larger one." (int $scaling.min) (int $scaling.max)) }}
{{- end }}
{{- if not $scaling.prometheus }}
{{- $problems = append $problems "autoscaling is on but autoscaling.prometheus is empty; give the address of the Prometheus that scrapes the engines, for example http://prometheus.monitoring:9090." }}
{{- end }}
{{- if and $v.queue.maxInFlight (ge (int $scaling.requestsPerReplica) (int $v.queue.maxInFlight)) }}
{{- $problems = append $problems (printf "autoscaling.requestsPerReplica is %d but queue.maxInFlight lets only %d into a replica, so no second one would ever start; make requestsPerReplica smaller." (int $scaling.requestsPerReplica) (int $v.queue.maxInFlight)) }}
{{- end }}
{{- end }}
{{- range $kind, $asked := $wanted }}
{{- if not ($.Capabilities.APIVersions.Has $kind) }}
{{- $problems = append $problems (printf "%s is on but the cluster has no %s; install %s first or turn it off (helm template is told with --api-versions %s)." (index $asked 0) $kind (index $asked 1) $kind) }}
{{- end }}
{{- end }}

{{- /* Only a live cluster lists anything, be it nothing; a parent chart may bring the Secret along. */}}
{{- if and .Chart.IsRoot (hasKey (lookup "v1" "ServiceAccount" .Release.Namespace "" | default dict) "items") }}
{{- with $v.auth.existingSecret }}
{{- $secret := lookup "v1" "Secret" $.Release.Namespace . }}
{{- if not $secret }}
{{- $problems = append $problems (printf "auth.existingSecret is %q, but namespace %s has no such Secret; create it, or clear the value to have a key generated." . $.Release.Namespace) }}
{{- else if not (hasKey ($secret.data | default dict) $v.auth.secretKey) }}
{{- $problems = append $problems (printf "auth.secretKey is %q, but Secret %s has only the keys [%s]; name one of them." $v.auth.secretKey . (keys ($secret.data | default dict) | sortAlpha | join ", ")) }}
{{- end }}
{{- end }}
{{- end }}

{{- if $problems }}
{{- fail (printf "\n%s" (join "\n" $problems)) }}
{{- end }}
{{- end }}
