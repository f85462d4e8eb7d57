#!/bin/bash
# Stands for minikube, kubectl, helm, docker, podman, make and curl, by the name it is called by. Writes down every call, and behaves
# as the files in $FAKE say.
set -euo pipefail
name=${0##*/}
call="$name $*"
# One write, so that calls at the same time do not mix.
printf '%s\n' "$call" >>"$FAKE/calls"

case $call in
    "minikube --profile test status"*)
        [ -e "$FAKE/running" ] || exit 7
        echo Running
        ;;
    "minikube profile list"*)
        [ -e "$FAKE/profile" ] || { echo '{"invalid":[],"valid":[]}' && exit 0; }
        echo '{"invalid":[],"valid":[{"Name":"test","Status":"Stopped"}]}'
        ;;
    "minikube --profile test start"*) touch "$FAKE/running" "$FAKE/profile" ;;
    "minikube --profile test stop") rm "$FAKE/running" ;;
    "minikube --profile test delete") rm -f "$FAKE/running" "$FAKE/profile" "$FAKE/images" ;;
    "minikube --profile test image ls")
        # As Minikube has it: with images that are not ours.
        echo "registry.k8s.io/pause:3.10"
        [ ! -e "$FAKE/images" ] || cat "$FAKE/images"
        ;;
    "minikube --profile test image load "*) cat "$5" >>"$FAKE/images" ;;
    "minikube --profile test image rm "*)
        shift 4
        for image in "$@"; do
            grep -vxF "$image" "$FAKE/images" >"$FAKE/images.new"
            mv "$FAKE/images.new" "$FAKE/images"
        done
        ;;
    "docker info" | "podman info") [ -e "$FAKE/$name" ] ;;
    # What is in an image is what was built last.
    *" image inspect "*) echo "sha256:$(cat "$FAKE/build")-${*: -1}" ;;
    *" save --output "*) printf '%s\n' "$4" >"$3" ;;
    *"helm --kube-context "*" upgrade "*)
        [ ! -e "$FAKE/unready" ] || { echo "Error: context deadline exceeded" >&2 && exit 1; }
        touch "$FAKE/installed"
        ;;
    *"helm --kube-context "*" test "*) [ ! -e "$FAKE/broken" ] ;;
    *"helm --kube-context "*" status "*)
        [ -e "$FAKE/installed" ] || exit 1
        printf 'NAME: microblog\nSTATUS: deployed\nREVISION: 3\n'
        ;;
    *" create namespace "*) echo "the namespace" ;;
    *" apply "*) cat >/dev/null ;;
    *" wait "*) [ ! -e "$FAKE/unready" ] ;;
    *" get "*) echo "pods and such" ;;
    *" port-forward "*)
        echo "Forwarding from 127.0.0.1"
        echo "$$" >"$FAKE/port-forward-${*: -1}"
        exec sleep 1000
        ;;
    # Nothing listens here: what answers is tried on a real cluster. This one answers as soon as the port is forwarded.
    "curl "*)
        [ ! -e "$FAKE/silent" ]
        port=${call##*:}
        until kill -0 "$(cat "$FAKE/port-forward-${port%%/*}:"* 2>/dev/null)" 2>/dev/null; do
            [ "$SECONDS" -lt 60 ]
            sleep 0.05
        done
        ;;
esac
