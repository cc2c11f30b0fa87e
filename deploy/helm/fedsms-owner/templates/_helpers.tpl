{{/* What Helm lets a release be called, and Services, StatefulSets or Jobs cannot be. */}}
{{- define "fedsms.check" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$" .Release.Name) -}}
{{- fail (printf "%s is no name for this release: at most 52 small letters, digits and hyphens, a letter first" .Release.Name) -}}
{{- end -}}
{{- with .Values.run -}}
{{- if gt (len (printf "%s-%s" $.Release.Name .)) 63 -}}
{{- fail (printf "%s-%s is no name for a Job: it has more than 63 characters" $.Release.Name .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "fedsms.namespace" -}}
{{- default .Release.Namespace .Values.namespace.name -}}
{{- end -}}

{{- define "fedsms.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fedsms.labels" -}}
{{ include "fedsms.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: fedsms
{{- end -}}

{{- define "fedsms.metadata" -}}
namespace: {{ include "fedsms.namespace" . }}
labels:
  {{- include "fedsms.labels" . | nindent 2 }}
{{- end -}}

{{- define "fedsms.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end -}}
{{- end -}}

{{/* What a container may do: nothing but compute, and write where it is told. */}}
{{- define "fedsms.container" -}}
image: {{ include "fedsms.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- end -}}

{{/* What all pods have. Service links would set variables such as FEDSMS_PORT, which are fedsms' own. */}}
{{- define "fedsms.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
serviceAccountName: {{ .Release.Name }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
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
{{- end -}}

{{- define "fedsms.volumes" -}}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 64Mi}
{{- end -}}

{{/* A number as fedsms reads it: 1000000 and not 1e+06. */}}
{{- define "fedsms.value" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ printf "%.0f" . }}{{- else -}}{{ toString . }}{{- end -}}
{{- end -}}

{{- define "fedsms.env" -}}
{{- range $name, $value := .Values.settings -}}
- name: FEDSMS_{{ upper $name }}
  value: {{ include "fedsms.value" $value | quote }}
{{ end -}}
{{- range $name, $value := .Values.env -}}
- name: {{ $name }}
  value: {{ include "fedsms.value" $value | quote }}
{{ end -}}
{{- end -}}

{{/* claim: a claim by name, of a size. */}}
{{- define "fedsms.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .storageClass }}
storageClassName: {{ . }}
{{- end }}
resources: {requests: {storage: {{ .size }}}}
{{- end -}}

{{- define "fedsms.dns" -}}
- to:
    {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end -}}
