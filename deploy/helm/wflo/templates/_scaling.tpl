{{- define "wflo.keda" -}}
{{- $a := .root.Values.worker.autoscaling -}}
{{- $t := .root.Values.temporal -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ .name }}
  labels: {{- include "wflo.labels" (dict "root" .root "component" "worker") | nindent 4 }}
spec:
  scaleTargetRef: {name: {{ .name }}}
  minReplicaCount: {{ $a.min }}
  maxReplicaCount: {{ $a.max }}
  pollingInterval: {{ $a.keda.pollingSeconds }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown: {stabilizationWindowSeconds: {{ $a.stabilisationSeconds }}}
  triggers:
    {{- range list "workflow" "activity" }}
    - type: temporal
      metadata:
        endpoint: {{ $t.address | quote }}
        namespace: {{ $t.namespace | quote }}
        taskQueue: {{ $t.taskQueue | quote }}
        queueTypes: {{ . }}
        targetQueueSize: {{ $a.backlog | quote }}
        enableTLS: {{ $t.tls.enabled | quote }}
        {{- if $t.tls.serverName }}
        tlsServerName: {{ $t.tls.serverName | quote }}
        {{- end }}
        {{- if $.build }}
        workerDeploymentName: {{ include "wflo.fullname" $.root }}
        workerDeploymentBuildId: {{ $.build | quote }}
        {{- end }}
      {{- if $a.keda.authentication }}
      authenticationRef: {name: {{ $a.keda.authentication }}}
      {{- end }}
    {{- end }}
{{- end -}}

{{- define "wflo.hpa" -}}
{{- $a := .root.Values.worker.autoscaling -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
  labels: {{- include "wflo.labels" (dict "root" .root "component" "worker") | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ .name }}}
  minReplicas: {{ $a.min }}
  maxReplicas: {{ $a.max }}
  behavior:
    scaleDown: {stabilizationWindowSeconds: {{ $a.stabilisationSeconds }}}
  metrics:
    {{- range list "workflow" "activity" }}
    - type: External
      external:
        metric:
          name: {{ $a.hpa.metric }}
          selector: {matchLabels: {task_queue: {{ $.root.Values.temporal.taskQueue | quote }}, type: {{ . }}}}
        target: {type: AverageValue, averageValue: {{ $a.backlog | quote }}}
    {{- end }}
{{- end -}}
