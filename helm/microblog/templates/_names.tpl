{{/* Names, labels and images. */}}

{{- define "microblog.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/*
The release's name, followed by the chart's name unless the release's name contains it. At most 40 characters, so that a component's name
can follow.
*/}}
{{- define "microblog.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{- $name := include "microblog.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The components that are installed, with their ports, as YAML. After `helm upgrade --reuse-values`, a release may have no `gateway`; then it
stays without.
*/}}
{{- define "microblog.ports" -}}
{{- if (.Values.gateway).enabled }}
gateway: 8080
{{- end }}
command: 8081
query: 8082
projector: 8083
{{- if .Values.operator.enabled }}
operator: 8084
{{- end }}
{{- end }}

{{/* The labels of selectors, which must never change. Called with (list $ "component"). */}}
{{- define "microblog.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "microblog.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/*
The labels of pods. They contain no version, so that a new version of the chart rolls only the pods that it changes. Called with
(list $ "component").
*/}}
{{- define "microblog.podLabels" -}}
{{ include "microblog.selectorLabels" . }}
app.kubernetes.io/part-of: microblog
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The labels of all objects. Called with (list $ "component"). */}}
{{- define "microblog.labels" -}}
{{- $root := index . 0 -}}
{{ include "microblog.selectorLabels" . }}
app.kubernetes.io/part-of: microblog
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The image of a program. Called with (list $ "program"). */}}
{{- define "microblog.image" -}}
{{- $root := index . 0 -}}
{{- $image := $root.Values.image -}}
{{- $tag := $image.tag | default $root.Chart.AppVersion -}}
{{- list $image.registry $image.repository (index . 1) | compact | join "/" }}:{{ $tag }}
{{- with get $image.digests (index . 1) -}}
{{- if not $image.tag }}@{{ . }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "microblog.authSecret" -}}
{{- .Values.auth.existingSecret | default (printf "%s-auth" (include "microblog.fullname" .)) }}
{{- end }}

{{- define "microblog.mongodbSecret" -}}
{{- .Values.mongodb.existingSecret | default (printf "%s-mongodb" (include "microblog.fullname" .)) }}
{{- end }}
