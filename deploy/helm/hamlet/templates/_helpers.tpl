{{- define "hamlet.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "hamlet.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "hamlet.labels" -}}
{{ include "hamlet.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* Exactly one source of secrets: without any, hamlet would not start, and say so only in its log. */ -}}
{{- define "hamlet.secretName" -}}
{{- $given := list }}
{{- if .Values.secrets.values }}{{ $given = append $given "values" }}{{ end }}
{{- if .Values.secrets.existing }}{{ $given = append $given "existing" }}{{ end }}
{{- if .Values.secrets.external.enabled }}{{ $given = append $given "external" }}{{ end }}
{{- if ne (len $given) 1 }}{{ fail "give exactly one of secrets.values, secrets.existing and secrets.external.enabled" }}{{ end }}
{{- .Values.secrets.existing | default (printf "%s-secrets" (include "hamlet.fullname" .)) }}
{{- end }}

{{- define "hamlet.config" -}}
{{- $server := dict "host" "0.0.0.0" "port" 8080 "drain_delay_s" .Values.drain.delay "drain_s" .Values.drain.limit }}
{{- $telemetry := dict "admin_host" "0.0.0.0" "admin_port" 9090 }}
{{- $ours := dict "server" $server "telemetry" $telemetry }}
{{- $given := .Values.config | default (.Files.Get "files/hamlet.yaml" | fromYaml) }}
{{- toYaml (mergeOverwrite (deepCopy $given) $ours) }}
{{- end }}
