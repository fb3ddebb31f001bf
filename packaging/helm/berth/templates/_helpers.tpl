{{- define "berth.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end -}}
{{- end }}

{{- define "berth.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "berth.labels" -}}
{{ include "berth.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "berth.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "berth.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end -}}
{{- end }}

{{- define "berth.secretName" -}}
{{ .Values.secret.existingSecret | default (include "berth.name" .) }}
{{- end }}

{{- define "berth.usesSecret" -}}
{{- if or .Values.secret.existingSecret .Values.secret.databaseUrl .Values.secret.masterKey .Values.secret.adminUsername }}true{{ end -}}
{{- end }}

{{/* Rejects combinations that the schema cannot express. */}}
{{- define "berth.validate" -}}
{{- $sqlite := eq .Values.database.kind "sqlite" }}
{{- if and $sqlite (gt (int .Values.replicaCount) 1) }}
{{- fail "SQLite allows one replica. Set replicaCount: 1, or database.kind: postgres." }}
{{- end }}
{{- if and $sqlite .Values.worker.enabled }}
{{- fail "Worker processes need PostgreSQL. Set worker.enabled: false, or database.kind: postgres." }}
{{- end }}
{{- if and $sqlite .Values.secret.databaseUrl }}
{{- fail "secret.databaseUrl is set, but database.kind is sqlite. Set database.kind: postgres." }}
{{- end }}
{{- if and (not $sqlite) (not .Values.secret.existingSecret) (not (and .Values.secret.databaseUrl .Values.secret.masterKey)) }}
{{- fail "PostgreSQL needs secret.databaseUrl and secret.masterKey, or secret.existingSecret with BERTH_DATABASE_URL and BERTH_MASTER_KEY." }}
{{- end }}
{{- if ne (empty .Values.secret.adminUsername) (empty .Values.secret.adminPassword) }}
{{- fail "Set both secret.adminUsername and secret.adminPassword, or neither." }}
{{- end }}
{{- end }}

{{/* Settings of all pods. */}}
{{- define "berth.podSettings" -}}
serviceAccountName: {{ include "berth.serviceAccountName" . }}
automountServiceAccountToken: false
# Prevents variables such as BERTH_PORT, which Berth would read as settings.
enableServiceLinks: false
terminationGracePeriodSeconds: 45
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
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
{{- end }}

{{/* Settings of all containers. */}}
{{- define "berth.containerSettings" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- if include "berth.usesSecret" . }}
envFrom:
  - secretRef:
      name: {{ include "berth.secretName" . }}
{{- end }}
{{- end }}

{{- define "berth.environment" -}}
- name: BERTH_PUBLIC_URL
  value: {{ .Values.publicUrl | quote }}
- name: BERTH_TRUST_PROXY
  value: {{ .Values.trustProxy | quote }}
- name: BERTH_METRICS_LISTEN
  value: "0.0.0.0:{{ .Values.metricsPort }}"
{{- with .Values.additionalHosts }}
- name: BERTH_ADDITIONAL_HOSTS
  value: {{ join "," . | quote }}
{{- end }}
- name: BERTH_LOG
  value: {{ .Values.log | quote }}
- name: BERTH_LOG_FORMAT
  value: json
{{- with .Values.allowNetworks }}
- name: BERTH_ALLOW_NETWORKS
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "berth.probes" -}}
startupProbe:
  httpGet:
    path: /readyz
    port: http
  # Migrations run before the server listens. They can take up to five minutes.
  periodSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /healthz
    port: http
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet:
    path: /readyz
    port: http
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}
