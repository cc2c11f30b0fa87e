{{- define "fedsms.listens" -}}
{{- if or (eq .Values.mode "standing") (has "" (values .Values.nodes)) -}}yes{{- end -}}
{{- end -}}

{{- define "fedsms.dials" -}}
{{- range .Values.nodes }}{{ if . }}yes{{ end }}{{ end -}}
{{- end -}}

{{/* An identity that this side makes, or writes beside, is on a claim; else it is a Secret's. */}}
{{- define "fedsms.keeps" -}}
{{- if or (eq .Values.mode "standing") (not .Values.identity.secret) -}}yes{{- end -}}
{{- end -}}

{{- define "fedsms.folders" -}}
- name: FEDSMS_IDENTITY
  value: {{ ternary "/federation/identity" "/identity" (eq (include "fedsms.keeps" .) "yes") }}
{{- if not .Values.identity.secret }}
- name: FEDSMS_AUTHORITY
  value: /federation/authority
- name: FEDSMS_AT
  value: {{ default (printf "%s.%s.svc:%v" .Release.Name (include "fedsms.namespace" .) .Values.service.port) .Values.at | quote }}
{{- end }}
{{- end -}}

{{- define "fedsms.tracking" -}}
{{- with .Values.track }}
- name: FEDSMS_TRACK
  value: {{ . | quote }}
{{- end }}
{{- if contains "mlflow" .Values.track }}
- name: MLFLOW_TRACKING_URI
  value: {{ .Values.mlflow.uri | quote }}
- name: MLFLOW_EXPERIMENT_NAME
  value: {{ .Values.mlflow.experiment | quote }}
{{- with .Values.mlflow.secret }}
{{- range list "MLFLOW_TRACKING_TOKEN" "MLFLOW_TRACKING_USERNAME" "MLFLOW_TRACKING_PASSWORD" }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $.Values.mlflow.secret }}, key: {{ . }}, optional: true}}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "fedsms.coordinator" -}}
{{- include "fedsms.pod" . }}
terminationGracePeriodSeconds: 30
{{- if include "fedsms.keeps" . }}
initContainers:
  - name: identity
    {{- include "fedsms.container" . | nindent 4 }}
    command: [sh, -euc]
    args:
      {{- if .Values.identity.secret }}
      - mkdir -p -m 0700 /federation/identity; install -m 0600 /identity/*.pem /federation/identity
      {{- else }}
      - test -e /federation/identity/certificate.pem || python -m server init
      {{- end }}
    env:
      {{- include "fedsms.folders" . | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      - {name: federation, mountPath: /federation}
      {{- if .Values.identity.secret }}
      - {name: identity, mountPath: /identity, readOnly: true}
      {{- end }}
{{- end }}
containers:
  - name: coordinator
    {{- include "fedsms.container" . | nindent 4 }}
    {{- if eq .Values.mode "job" }}
    args: [train, --once]
    {{- else }}
    args:
      - up
      {{- range .Values.schedule.at }}
      - --at={{ . }}
      {{- end }}
      {{- with .Values.schedule.when }}
      - --when={{ . }}
      {{- end }}
    {{- end }}
    env:
      {{- include "fedsms.folders" . | nindent 6 }}
      {{- if eq .Values.mode "job" }}
      - name: FEDSMS_RUN_DIR
        value: runs/{{ .Values.run }}
      {{- end }}
      {{- if include "fedsms.listens" . }}
      - name: FEDSMS_LISTEN
        value: "0.0.0.0:8770"
      {{- end }}
      {{- with .Values.nodes }}
      {{- $nodes := list }}
      {{- range $node, $address := . }}
      {{- $nodes = append $nodes (ternary (printf "%s=%s" $node $address) $node (ne $address "")) }}
      {{- end }}
      - name: FEDSMS_NODES
        value: {{ join " " $nodes | quote }}
      {{- end }}
      {{- if .Values.recipe }}
      - name: FEDSMS_RECIPE
        value: /recipe/recipe.toml
      {{- end }}
      {{- if .Values.metrics.enabled }}
      - name: FEDSMS_METRICS
        value: "0.0.0.0:{{ include "fedsms.value" .Values.metrics.port }}"
      {{- end }}
      {{- with include "fedsms.tracking" . }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- with include "fedsms.env" . }}
      {{- . | nindent 6 }}
      {{- end }}
    {{- if or (include "fedsms.listens" .) .Values.metrics.enabled }}
    ports:
      {{- if include "fedsms.listens" . }}
      - {name: wss, containerPort: 8770}
      {{- end }}
      {{- if .Values.metrics.enabled }}
      - {name: metrics, containerPort: {{ include "fedsms.value" .Values.metrics.port }}}
      {{- end }}
    {{- end }}
    {{- if eq .Values.mode "standing" }}
    startupProbe:
      tcpSocket: {port: 8770}
      periodSeconds: 5
      failureThreshold: 60
    readinessProbe:
      tcpSocket: {port: 8770}
      periodSeconds: 30
      failureThreshold: 3
    {{- end }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- if include "fedsms.keeps" . }}
      - {name: federation, mountPath: /federation}
      {{- else }}
      - {name: identity, mountPath: /identity, readOnly: true}
      {{- end }}
      - {name: runs, mountPath: /runs}
      {{- if .Values.recipe }}
      - {name: recipe, mountPath: /recipe, readOnly: true}
      {{- end }}
volumes:
  {{- include "fedsms.volumes" . | nindent 2 }}
  {{- if include "fedsms.keeps" . }}
  - name: federation
    persistentVolumeClaim: {claimName: {{ .Release.Name }}-federation}
  {{- end }}
  {{- if .Values.identity.secret }}
  - name: identity
    secret: {secretName: {{ .Values.identity.secret }}, defaultMode: 0440}
  {{- end }}
  - name: runs
    persistentVolumeClaim: {claimName: {{ default (printf "%s-runs" .Release.Name) .Values.runs.claim }}}
  {{- if .Values.recipe }}
  - name: recipe
    configMap: {name: {{ .Release.Name }}-recipe}
  {{- end }}
{{- end -}}
