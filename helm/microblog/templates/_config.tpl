{{/* The environment variables of the programs, made from the values. */}}

{{/*
The map MICROBLOG__SECTION__KEY: text, as YAML. The chart's own settings come first, so that `config` can override them.
*/}}
{{- define "microblog.environment" -}}
{{- $fullname := include "microblog.fullname" . -}}
{{- $environment := dict
      "MICROBLOG__GATEWAY__LISTEN" "0.0.0.0:8080"
      "MICROBLOG__GATEWAY__COMMAND_URL" (printf "http://%s-command:8081" $fullname)
      "MICROBLOG__GATEWAY__QUERY_URL" (printf "http://%s-query:8082" $fullname)
      "MICROBLOG__COMMAND__LISTEN" "0.0.0.0:8081"
      "MICROBLOG__QUERY__LISTEN" "0.0.0.0:8082"
      "MICROBLOG__PROJECTOR__LISTEN" "0.0.0.0:8083"
      "MICROBLOG__OPERATOR__LISTEN" "0.0.0.0:8084" -}}
{{- if .Values.operator.enabled -}}
{{- /* The operator's Job does the rebuild, with its own memory. */ -}}
{{- $_ := set $environment "MICROBLOG__REBUILD__HOSTED" "false" -}}
{{- end -}}
{{- range $section, $keys := .Values.config -}}
{{- range $key, $value := $keys -}}
{{- $name := printf "MICROBLOG__%s__%s" (upper $section) (upper $key) -}}
{{- if kindIs "map" $value -}}
{{- range $inner, $innerValue := $value -}}
{{- $_ := set $environment (printf "%s__%s" $name (upper $inner)) (include "microblog.text" $innerValue) -}}
{{- end -}}
{{- else if kindIs "invalid" $value -}}
{{- /* null means the program's own default. */ -}}
{{- $_ := unset $environment $name -}}
{{- else -}}
{{- $_ := set $environment $name (include "microblog.text" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $environment }}
{{- end }}

{{/* A value in the form that the programs read: lists separated by commas, whole numbers without an exponent. */}}
{{- define "microblog.text" -}}
{{- if kindIs "slice" . -}}
{{- join "," . }}
{{- else if and (kindIs "float64" .) (eq . (floor .)) -}}
{{- int64 . }}
{{- else -}}
{{- toString . }}
{{- end }}
{{- end }}

{{/* The address of the database. */}}
{{- define "microblog.mongodbEnv" -}}
- name: MICROBLOG__MONGODB__URI
  valueFrom:
    secretKeyRef:
      name: {{ include "microblog.mongodbSecret" . }}
      key: uri
- name: MICROBLOG__MONGODB__VIEWS_URI
  valueFrom:
    secretKeyRef:
      name: {{ include "microblog.mongodbSecret" . }}
      key: views-uri
      optional: true
{{- end }}

{{/* The public keys that are accepted. After a rotation, the old key stays in the list until its last token has expired. */}}
{{- define "microblog.publicKeysEnv" -}}
- name: MICROBLOG__AUTH__PUBLIC_KEYS
  valueFrom:
    secretKeyRef:
      name: {{ include "microblog.authSecret" . }}
      key: public-keys
{{- end }}

{{/* The gateway proves itself to command-svc by it. A Secret that was made for an earlier version does not have it. */}}
{{- define "microblog.clientSecretRef" -}}
valueFrom:
  secretKeyRef:
    name: {{ include "microblog.authSecret" . }}
    key: client-secret
    optional: true
{{- end }}

{{/* Without a secret for its cookies, the pages of the gateway can only be read. */}}
{{- define "microblog.gateway.env" -}}
- name: MICROBLOG__GATEWAY__COOKIE_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ include "microblog.authSecret" . }}
      key: cookie-secret
      optional: true
- name: MICROBLOG__GATEWAY__CLIENT_SECRET
  {{- include "microblog.clientSecretRef" . | nindent 2 }}
{{- end }}

{{- define "microblog.command.env" -}}
{{ include "microblog.mongodbEnv" . }}
- name: MICROBLOG__AUTH__SIGNING_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "microblog.authSecret" . }}
      key: signing-key
- name: MICROBLOG__AUTH__REFRESH_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ include "microblog.authSecret" . }}
      key: refresh-secret
- name: MICROBLOG__AUTH__CLIENT_SECRET
  {{- include "microblog.clientSecretRef" . | nindent 2 }}
{{ include "microblog.publicKeysEnv" . }}
{{- end }}

{{- define "microblog.query.env" -}}
{{ include "microblog.mongodbEnv" . }}
{{ include "microblog.publicKeysEnv" . }}
{{- end }}

{{- define "microblog.projector.env" -}}
{{ include "microblog.mongodbEnv" . }}
{{- end }}

{{- define "microblog.operator.env" -}}
{{ include "microblog.mongodbEnv" . }}
- name: MICROBLOG__OPERATOR__JOB_TEMPLATE
  value: /etc/microblog/rebuild-job.yaml
- name: MICROBLOG__OPERATOR__LEASE
  value: {{ include "microblog.fullname" . }}-operator
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- end }}
