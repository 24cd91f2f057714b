{{- define "wflo.egress" -}}
- ports: [{port: {{ .port }}, protocol: TCP}]
  {{- with .to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "wflo.egressDNS" -}}
- to: {{- toYaml .Values.networkPolicy.dns.to | nindent 4 }}
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end -}}

{{- define "wflo.egressCommon" -}}
{{ include "wflo.egressDNS" . }}
{{ include "wflo.egress" .Values.networkPolicy.temporal }}
{{ include "wflo.egress" .Values.networkPolicy.database }}
{{ include "wflo.egress" .Values.networkPolicy.objectStore }}
{{- end -}}

{{- define "wflo.internet" -}}
{{- with .Values.networkPolicy.internet }}
{{- if .enabled -}}
- to:
    - ipBlock: {cidr: 0.0.0.0/0, except: {{ toJson .except }}}
  ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}
{{- end }}
{{- end -}}
