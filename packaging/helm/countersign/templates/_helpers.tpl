{{- define "countersign.name" -}}
{{- printf "%s-countersign" .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "countersign.selector" -}}
app.kubernetes.io/name: countersign
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "countersign.labels" -}}
{{ include "countersign.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* What every container of the pod may not do. */}}
{{- define "countersign.confined" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* How containers beside the HSM reach its socket. */}}
{{- define "countersign.socket" -}}
- name: hsm-home
  mountPath: /var/lib/countersign-hsm/home
  subPath: home
  readOnly: true
- name: host-config
  mountPath: /etc/countersign
  readOnly: true
{{- end -}}
