{{- define "pce.selector" -}}
app.kubernetes.io/name: pce
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pce.labels" -}}
{{ include "pce.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
