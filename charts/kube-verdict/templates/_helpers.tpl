{{/*
Names are fixed: the tables in the kernel are, too, and a second release must meet a
conflict instead of a second agent on every node.
*/}}
{{- define "kube-verdict.labels" -}}
app.kubernetes.io/name: kube-verdict
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
