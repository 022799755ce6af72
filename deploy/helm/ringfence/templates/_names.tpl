{{/* Labels of every object; call with (dict "root" $ "component" NAME), component may be empty. */}}
{{- define "ringfence.labels" -}}
{{ include "ringfence.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* Labels by which a component's pods are selected; they never change between versions. */}}
{{- define "ringfence.selector" -}}
app.kubernetes.io/name: ringfence
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* Image of a component. */}}
{{- define "ringfence.image" -}}
image: {{ printf "%s/%s:%s" .root.Values.image.registry .component .root.Values.image.tag | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- end }}

{{/* Pod security of the three Deployments: what the restricted standard asks for. */}}
{{- define "ringfence.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "ringfence.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Health probes on the port named http. */}}
{{- define "ringfence.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 2
  timeoutSeconds: 2
{{- end }}

{{/* Environment that every service has. */}}
{{- define "ringfence.env" -}}
- name: RINGFENCE_LOG_LEVEL
  value: {{ .root.Values.logLevel | quote }}
{{- end }}

{{/* Names of the node's runtime, by containerRuntime: the folder of the CRI socket and the socket in it. */}}
{{- define "ringfence.runtimeFolder" -}}
{{- get (dict "containerd" "/run/containerd" "crio" "/run/crio" "k3s_containerd" "/run/k3s/containerd") .Values.containerRuntime }}
{{- end }}
{{- define "ringfence.runtimeSocket" -}}
{{ include "ringfence.runtimeFolder" . }}/{{ eq .Values.containerRuntime "crio" | ternary "crio.sock" "containerd.sock" }}
{{- end }}

{{/* Whether the watcher issues the certificate of the event log: empty means no. */}}
{{- define "ringfence.issues" -}}
{{- if and (eq .root.Values.nats.mode "embedded") .root.Values.security.issueCertificate (not .root.Values.security.tlsSecret) }}true{{ end }}
{{- end }}

{{/* The Secret with the certificate of the event log, empty where it is served in the clear. */}}
{{- define "ringfence.certificateSecret" -}}
{{- if and (eq .root.Values.nats.mode "external") .root.Values.security.tlsSecret }}
{{- fail "security.tlsSecret is for the embedded log; the servers of an external cluster have certificates of their own: set nats.external.caSecret" }}
{{- end }}
{{- include "ringfence.issues" . | empty | ternary .root.Values.security.tlsSecret "ringfence-log-tls" }}
{{- end }}

{{/* What a service needs to reach the external cluster: environment. */}}
{{- define "ringfence.clusterEnv" -}}
{{- with .root.Values.nats.external }}
- name: RINGFENCE_LOG_URL
  value: {{ required "nats.external.url is required: the servers of the NATS cluster" .url | quote }}
{{- if .caSecret }}
- name: RINGFENCE_LOG_CA_FILE
  value: /var/run/ringfence/ca/ca.crt
{{- end }}
{{- with .serverName }}
- name: RINGFENCE_LOG_SERVER_NAME
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* What a client of the event log needs to prove who it is and to know the log: environment, mounts, volumes. */}}
{{- define "ringfence.logEnv" -}}
{{- if .root.Values.security.tokens }}
- name: RINGFENCE_LOG_TOKEN_FILE
  value: /var/run/ringfence/token/token
{{- end }}
{{- if include "ringfence.certificateSecret" . }}
- name: RINGFENCE_LOG_CA_FILE
  value: /var/run/ringfence/ca/ca.crt
{{- end }}
{{- if eq .root.Values.nats.mode "external" }}
{{- include "ringfence.clusterEnv" . }}
{{- end }}
{{- end }}
{{- define "ringfence.logMounts" -}}
{{- if .root.Values.security.tokens }}
- {name: log-token, mountPath: /var/run/ringfence/token, readOnly: true}
{{- end }}
{{- if include "ringfence.certificateSecret" . }}
- {name: log-ca, mountPath: /var/run/ringfence/ca, readOnly: {{ not (and (include "ringfence.issues" .) (eq .component "watcher")) }}}
{{- else if and (eq .root.Values.nats.mode "external") .root.Values.nats.external.caSecret }}
- {name: log-ca, mountPath: /var/run/ringfence/ca, readOnly: true}
{{- end }}
{{- end }}
{{- define "ringfence.logVolumes" -}}
{{- if .root.Values.security.tokens }}
- name: log-token
  projected:
    sources:
      - serviceAccountToken: {path: token, audience: ringfence, expirationSeconds: 86400}
{{- end }}
{{- if not (include "ringfence.issues" .) }}
{{- with eq .root.Values.nats.mode "external" | ternary .root.Values.nats.external.caSecret .root.Values.security.tlsSecret }}
- name: log-ca
  secret: {secretName: {{ . | quote }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- else if eq .component "watcher" }}
# The watcher writes the authorities itself: it cannot wait for a ConfigMap that it makes.
- name: log-ca
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
{{- else }}
- name: log-ca
  configMap: {name: ringfence-ca}
{{- end }}
{{- end }}
