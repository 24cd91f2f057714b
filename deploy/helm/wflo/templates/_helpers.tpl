{{- define "wflo.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What an object is selected by: never a version, because selectors cannot change. */}}
{{- define "wflo.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "wflo.labels" -}}
{{ include "wflo.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: wflo
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "wflo.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end -}}

{{/* The image of wflo; .tag and .digest override the values. */}}
{{- define "wflo.ownImage" -}}
{{- $i := .root.Values.image -}}
{{- $tag := .tag | default $i.tag | default .root.Chart.AppVersion -}}
{{- $digest := .digest -}}
{{- if not (or .tag .digest) -}}{{- $digest = $i.digest -}}{{- end -}}
{{- include "wflo.image" (dict "repository" $i.repository "tag" $tag "digest" $digest) -}}
{{- end -}}

{{- define "wflo.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "wflo.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "wflo.dataClaim" -}}
{{- default (printf "%s-data" (include "wflo.fullname" .)) .Values.data.existingClaim -}}
{{- end -}}

{{- define "wflo.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "wflo.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "wflo.secretVariable" -}}
- name: {{ .name }}
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}
{{- end -}}

{{/* How workers and console reach Temporal and the database. */}}
{{- define "wflo.connections" -}}
- {name: TEMPORAL_ADDRESS, value: {{ required "temporal.address is missing: HOST:PORT of Temporal's frontend" .Values.temporal.address | quote }}}
- {name: TEMPORAL_NAMESPACE, value: {{ .Values.temporal.namespace | quote }}}
{{- with .Values.temporal.tls }}
{{- if .enabled }}
- {name: TEMPORAL_TLS, value: "true"}
{{- if .serverName }}
- {name: TEMPORAL_TLS_SERVER_NAME, value: {{ .serverName | quote }}}
{{- end }}
{{- if .existingSecret }}
{{- if .clientCertificate }}
- {name: TEMPORAL_TLS_CLIENT_CERT_PATH, value: /run/wflo/temporal/tls.crt}
- {name: TEMPORAL_TLS_CLIENT_KEY_PATH, value: /run/wflo/temporal/tls.key}
{{- end }}
{{- if .ca }}
- {name: TEMPORAL_TLS_SERVER_CA_CERT_PATH, value: /run/wflo/temporal/ca.crt}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.temporal.apiKey }}
{{- if .existingSecret }}
{{ include "wflo.secretVariable" (dict "name" "TEMPORAL_API_KEY" "secret" .existingSecret "key" .key) }}
{{- end }}
{{- end }}
{{ include "wflo.database" . }}
- {name: WFLO_CONFIG, value: /etc/wflo/wflo.yaml}
- {name: WFLO_DATA_DIR, value: /var/lib/wflo/data}
{{- with .Values.objectStore }}
{{- if .existingSecret }}
{{ include "wflo.secretVariable" (dict "name" "AWS_ACCESS_KEY_ID" "secret" .existingSecret "key" .accessKeyID) }}
{{ include "wflo.secretVariable" (dict "name" "AWS_SECRET_ACCESS_KEY" "secret" .existingSecret "key" .secretAccessKey) }}
{{- end }}
{{- end }}
{{- with .Values.blobKeys }}
{{- if .existingSecret }}
{{ include "wflo.secretVariable" (dict "name" "WFLO_BLOB_KEYS" "secret" .existingSecret "key" .key) }}
{{- end }}
{{- end }}
{{- with .Values.payloadKeys }}
{{- if .existingSecret }}
{{ include "wflo.secretVariable" (dict "name" "WFLO_PAYLOAD_KEYS" "secret" .existingSecret "key" .key) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "wflo.database" -}}
{{- with .Values.database -}}
{{ include "wflo.secretVariable" (dict "name" "WFLO_DATABASE" "secret" (required "database.existingSecret is missing: a Secret with the address of PostgreSQL" .existingSecret) "key" .key) }}
{{- end }}
{{- end -}}

{{- define "wflo.ownVariables" -}}
{{- range $name, $value := .env }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- range .secretEnv }}
{{ include "wflo.secretVariable" (dict "name" .name "secret" .secret "key" .key) }}
{{- end }}
{{- end -}}

{{- define "wflo.commonMounts" -}}
- {name: config, mountPath: /etc/wflo, readOnly: true}
- {name: data, mountPath: /var/lib/wflo}
- {name: tmp, mountPath: /tmp}
{{- with .Values.temporal.tls }}
{{- if and .enabled .existingSecret }}
- {name: temporal-tls, mountPath: /run/wflo/temporal, readOnly: true}
{{- end }}
{{- end }}
{{- end -}}

{{- define "wflo.commonVolumes" -}}
- name: config
  configMap: {name: {{ include "wflo.fullname" . }}-config}
- name: data
  persistentVolumeClaim: {claimName: {{ include "wflo.dataClaim" . }}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- with .Values.temporal.tls }}
{{- if and .enabled .existingSecret }}
- name: temporal-tls
  secret: {secretName: {{ .existingSecret }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- end -}}

{{- define "wflo.spread" -}}
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- .labels | nindent 6 }}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- .labels | nindent 6 }}
{{- end -}}

{{/* The container engines, as workers know them: NAME=ADDRESS with commas. */}}
{{- define "wflo.engines" -}}
{{- $hosts := list -}}
{{- if eq .Values.sandbox.mode "remote" -}}
{{- if not .Values.sandbox.remote.hosts -}}
{{- fail "sandbox.remote.hosts is missing: {NAME: tcp://HOST:2376} of at least one engine" -}}
{{- end -}}
{{- range $name, $address := .Values.sandbox.remote.hosts -}}
{{- $hosts = append $hosts (printf "%s=%s" $name $address) -}}
{{- end -}}
{{- else -}}
{{- $name := printf "%s-sandboxes" (include "wflo.fullname" .) -}}
{{- range $i := until (int .Values.sandbox.pool.replicas) -}}
{{- $hosts = append $hosts (printf "%s-%d=tcp://%s-%d.%s.%s.svc:2376" $name $i $name $i $name $.Values.sandbox.pool.namespace) -}}
{{- end -}}
{{- end -}}
{{- join "," $hosts -}}
{{- end -}}
