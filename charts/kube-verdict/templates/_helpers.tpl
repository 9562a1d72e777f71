{{/*
Names are fixed: the tables in the kernel are, too, and a second release must meet a
conflict instead of a second agent on every node.
*/}}
{{- define "kube-verdict.labels" -}}
app.kubernetes.io/name: kube-verdict
{{ include "kube-verdict.release" . }}
{{- end }}

{{- define "kube-verdict.release" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* The scope in use: the value is a flag, which overrides the configuration. */}}
{{- define "kube-verdict.scope" -}}
{{- if eq .Values.scope "all" }}{{ .Values.configuration.scope | default "all" }}{{ else }}{{ .Values.scope }}{{ end }}
{{- end }}

{{/* Where metrics are served, as host and port. */}}
{{- define "kube-verdict.metrics" -}}
{{- $a := .Values.metrics.address }}
{{- if contains ":" $a }}[{{ $a }}]{{ else }}{{ $a }}{{ end }}:{{ .Values.metrics.port }}
{{- end }}

{{/* The image, by its tag or its digest. */}}
{{- define "kube-verdict.image" -}}
{{- $i := .Values.image }}
{{- with (.Values.global).imageRegistry | default $i.registry }}{{ trimSuffix "/" . }}/{{ end }}
{{- $i.repository }}{{ if $i.digest }}@{{ $i.digest }}{{ else }}:{{ $i.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* What the pods of the agent and of "helm test" share. */}}
{{- define "kube-verdict.pod" -}}
serviceAccountName: kube-verdict
{{- with concat ((.Values.global).imagePullSecrets | default list) .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ if kindIs "string" . }}{{ quote . }}{{ else }}{{ quote .name }}{{ end }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
# It programs the node's own network namespace, and the cluster's DNS works
# only after it has.
hostNetwork: true
dnsPolicy: Default
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{/* And what their containers share. */}}
{{- define "kube-verdict.container" -}}
image: {{ include "kube-verdict.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- with .Values.kubernetesServiceHost }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ . | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ $.Values.kubernetesServicePort | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  # Capabilities that are added are effective for root alone.
  runAsUser: 0
  capabilities:
    drop: [ALL]
    add: [NET_ADMIN]
{{- end }}
