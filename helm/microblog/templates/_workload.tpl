{{/* Templates that the five Deployments, the rebuild's Job and the smoke test share. */}}

{{/* What the restricted Pod Security Standard requires of a pod. */}}
{{- define "microblog.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* The same for a container, and a read-only root file system. */}}
{{- define "microblog.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/*
The values of a workload, as YAML: its own values override `defaults`. Called with (list $ "component"). After
`helm upgrade --reuse-values`, a release may have no `defaults`; then each workload has all keys itself.
*/}}
{{- define "microblog.values" -}}
{{- $values := dict -}}
{{- range list "defaults" (index . 1) -}}
{{- include "microblog.override" (list $values (get (index $ 0).Values . | default dict)) -}}
{{- end -}}
{{- toYaml $values }}
{{- end }}

{{/*
Merges one map into another, as Helm merges values files. The function mergeOverwrite is not used, because it does not remove keys that are
null. Called with (list $into $from).
*/}}
{{- define "microblog.override" -}}
{{- $into := index . 0 -}}
{{- range $key, $value := index . 1 -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $into $key -}}
{{- else if kindIs "map" $value -}}
{{- $inner := get $into $key | default dict -}}
{{- include "microblog.override" (list $inner $value) -}}
{{- $_ := set $into $key $inner -}}
{{- else -}}
{{- $_ := set $into $key $value -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Spreads the pods over nodes and zones, each version of a Deployment separately. Called with (list $ "component" $values). */}}
{{- define "microblog.topologySpread" -}}
{{- $root := index . 0 }}
{{- $component := index . 1 }}
{{- $values := index . 2 }}
{{- range $values.topologySpread.keys }}
- topologyKey: {{ . }}
  maxSkew: 1
  whenUnsatisfiable: {{ $values.topologySpread.whenUnsatisfiable }}
  labelSelector:
    matchLabels:
      {{- include "microblog.selectorLabels" (list $root $component) | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}

{{/*
A Deployment. Called with a dict:
  root       the chart's context
  component  gateway, command, query, projector or operator; also the key of its values
  program    the name of its image
  port       the port on which it listens
  scaler     the key of the autoscaler in its values; an enabled autoscaler sets the number of replicas (optional)
  token      whether the pods get a token for the API server
  volumes    a map with volumes and mounts (optional)
  annotations  annotations of the pods, in addition to those from the values (optional)
*/}}
{{- define "microblog.deployment" -}}
{{- $root := .root -}}
{{- $component := .component -}}
{{- $values := include "microblog.values" (list $root $component) | fromYaml -}}
{{- $fullname := include "microblog.fullname" $root -}}
{{- /* The gateway has no database and no keys. */ -}}
{{- $secrets := ne $component "gateway" -}}
{{- $tls := ternary (include "microblog.mongodbTls" $root | fromYaml) dict $secrets -}}
{{- $own := .volumes | default dict -}}
{{- $mounts := concat ($own.mounts | default list) ($tls.mounts | default list) -}}
{{- $volumes := concat ($own.volumes | default list) ($tls.volumes | default list) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $fullname }}-{{ $component }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "microblog.labels" (list $root $component) | nindent 4 }}
  {{- with $root.Values.deploymentAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if not (dig (.scaler | default "") "enabled" false $values) }}
  replicas: {{ $values.replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  minReadySeconds: {{ $values.minReadySeconds }}
  # A new pod is ready before an old pod stops. So a rolling update refuses no request, even with one replica.
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  selector:
    matchLabels:
      {{- include "microblog.selectorLabels" (list $root $component) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "microblog.podLabels" (list $root $component) | nindent 8 }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        {{- /* A change of the ConfigMap or of an address rolls the pods. */}}
        checksum/config: {{ include "microblog.environment" $root | sha256sum }}
        {{- if $secrets }}
        checksum/secrets: {{ include "microblog.secretsChecksum" $root }}
        {{- end }}
        {{- with .annotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ $fullname }}-{{ $component }}
      automountServiceAccountToken: {{ .token }}
      enableServiceLinks: false
      # Longer than shutdown.drain_delay (5 s) and shutdown.grace (20 s) together, so that the program ends before Kubernetes kills it.
      terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      securityContext:
        {{- include "microblog.podSecurityContext" $root | nindent 8 }}
      containers:
        - name: {{ $component }}
          image: {{ include "microblog.image" (list $root .program) }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          ports:
            - name: http
              containerPort: {{ .port }}
              protocol: TCP
          envFrom:
            - configMapRef:
                name: {{ $fullname }}-config
          {{- $env := include (printf "microblog.%s.env" $component) $root }}
          {{- with $values.extraEnv }}{{ $env = print $env "\n" (toYaml .) }}{{ end }}
          {{- with $env | trim }}
          env:
            {{- . | nindent 12 }}
          {{- end }}
          # The process answers /livez as soon as it listens. The answer does not depend on the database, because a restart of the pod would
          # not repair the database.
          startupProbe:
            httpGet:
              path: /livez
              port: http
            periodSeconds: 2
            timeoutSeconds: 2
            failureThreshold: 60
          # The limits are generous. An overloaded process answers late, and a restart would move its load to the other pods.
          livenessProbe:
            httpGet:
              path: /livez
              port: http
            periodSeconds: 10
            timeoutSeconds: 10
            failureThreshold: 6
          # The check of the database may take 3 s (http.check_timeout). All pods use the same database. A short outage of it must not make
          # all pods unready, because the outage would then last longer for clients.
          readinessProbe:
            httpGet:
              path: /readyz
              port: http
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 3
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          securityContext:
            {{- include "microblog.securityContext" $root | nindent 12 }}
          {{- with $mounts }}
          volumeMounts:
            {{- toYaml . | nindent 12 }}
          {{- end }}
      {{- with $volumes }}
      volumes:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with include "microblog.topologySpread" (list $root $component $values) | trim }}
      topologySpreadConstraints:
        {{- . | nindent 8 }}
      {{- end }}
{{- end }}

{{/*
The checksum of the addresses in the values and of the content of the user's own Secrets. The content is only known if Helm can read the
cluster (`helm template` and GitOps tools can't). Generated passwords and keys are not included: they never change, and they do not exist
before the first release.
*/}}
{{- define "microblog.secretsChecksum" -}}
{{- $mongodb := .Values.mongodb -}}
{{- $known := list $mongodb.uri $mongodb.viewsUri $mongodb.existingSecret .Values.auth.existingSecret -}}
{{- range list .Values.auth.existingSecret $mongodb.existingSecret $mongodb.tls.caSecret $mongodb.tls.certificateKeySecret -}}
{{- with . -}}
{{- $known = append $known (lookup "v1" "Secret" $.Release.Namespace .).data -}}
{{- end -}}
{{- end -}}
{{- $known | toJson | sha256sum }}
{{- end }}

{{/* The CA of the database's certificate, and the client's own certificate: a map of volumes and mounts, as YAML. */}}
{{- define "microblog.mongodbTls" -}}
{{- $sources := list -}}
{{- with .Values.mongodb.tls.caSecret -}}
{{- $sources = append $sources (dict "secret" (dict "name" . "items" (list (dict "key" "ca.crt" "path" "ca.crt")))) -}}
{{- end -}}
{{- with .Values.mongodb.tls.certificateKeySecret -}}
{{- $key := dict "key" "tls-combined.pem" "path" "tls-combined.pem" -}}
{{- $sources = append $sources (dict "secret" (dict "name" . "items" (list $key))) -}}
{{- end -}}
{{- with $sources -}}
volumes:
  - name: mongodb-tls
    projected:
      # Only the pod's group (fsGroup) can read the files.
      defaultMode: 0440
      sources:
        {{- toYaml . | nindent 8 }}
mounts:
  - name: mongodb-tls
    mountPath: /etc/mongodb-tls
    readOnly: true
{{- end }}
{{- end }}
