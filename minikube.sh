#!/usr/bin/env bash
# Microblog on Minikube: builds the images, installs the chart, forwards the ports and runs a first test. `./minikube.sh help` lists all commands.
# You can run it again at any time: it continues where it was interrupted, and skips what is already done.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<'USAGE'
Usage: ./minikube.sh COMMAND [OPTIONS] [-- FURTHER ARGUMENTS]

  up       Start Minikube, build the images into it, install or upgrade Microblog, wait until it is ready, forward its ports, test it
           (further arguments go to `helm upgrade`, for example: up -- --set query.replicas=2)
  status   Show what runs; exit code 1 if something does not run
  logs     Show the logs of all programs, or of one (command, query, projector, operator, mongodb)
           (further arguments go to `kubectl logs`, for example: logs query -- --follow)
  down     Stop forwarding and stop Minikube; all data are kept
  help     Show this help

  --profile NAME        the Minikube profile; created if it does not exist (microblog)
  --cpus N              processors of a new profile (2)
  --memory SIZE         memory of a new profile (4g)
  --images PREFIX:TAG   use existing images, for example registry.example.org/you/microblog:0.1.0, and build none
  --namespace NAME      the namespace to install into (microblog)
  --values FILE         values of the chart (helm/microblog/ci/minikube-values.yaml)
  --gateway-port PORT   the local port for everything (8080)
  --command-port PORT   the local port for the API for writing (8081)
  --query-port PORT     the local port for the API for reading (8082)
  --context NAME        the context of kubectl (the profile's name)
  --timeout DURATION    how long to wait until Microblog is ready (10m)
  --open                with up: open the page in a browser
  --delete              with down: delete the profile and all its data
USAGE
}

# What is installed. `make images` builds all of these.
programs=(command-svc query-svc projector gateway operator microblog)
prefix=localhost/microblog
release=microblog

profile=microblog
cpus=2
memory=4g
images=
namespace=microblog
values=$here/helm/microblog/ci/minikube-values.yaml
gateway_port=8080
command_port=8081
query_port=8082
context=
timeout=10m
open=no
delete=no
further=()

say() { printf '\n== %s\n' "$*"; }

die() {
    printf 'minikube.sh: %s\n' "$*" >&2
    exit 1
}

# Reports wrong usage, and shows the right one.
misused() {
    printf 'minikube.sh: %s\n\n' "$*" >&2
    usage >&2
    exit 64
}

present() { command -v "$1" >/dev/null 2>&1; }

in_minikube() { minikube --profile "$profile" "$@"; }
in_cluster() { kubectl --context "$context" "$@"; }
in_namespace() { in_cluster --namespace "$namespace" "$@"; }
with_helm() { helm --kube-context "$context" --namespace "$namespace" "$@"; }

# ---- Required tools

# Lists all missing tools at once, and where to get each.
require() {
    local missing=() tool
    for tool in "$@"; do
        present "$tool" && continue
        case $tool in
            minikube) missing+=("minikube   https://minikube.sigs.k8s.io/docs/start/") ;;
            kubectl) missing+=("kubectl    https://kubernetes.io/docs/tasks/tools/") ;;
            helm) missing+=("helm       https://helm.sh/docs/intro/install/") ;;
            *) missing+=("$tool       from your system's packages") ;;
        esac
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    printf 'Some tools are missing. Please install them, then run this again:\n' >&2
    printf '  %s\n' "${missing[@]}" >&2
    exit 1
}

# Sets `builder` to the tool that builds images: docker or podman, the first one that is installed and answers.
builder=
require_builder() {
    local tool
    for tool in docker podman; do
        if present "$tool" && "$tool" info >/dev/null 2>&1; then
            builder=$tool
            return 0
        fi
    done
    if present docker; then
        die "docker is installed, but does not answer. Start it, or get permission to use it (docker info says what is wrong)."
    fi
    cat >&2 <<'TEXT'
No tool to build images was found. Please install one of these, then run this again:
  docker     https://docs.docker.com/engine/install/
  podman     https://podman.io/docs/installation
Or use existing images: ./minikube.sh up --images PREFIX:TAG
TEXT
    exit 1
}

# ---- Minikube

is_running() {
    # The first line is for the control plane.
    [ "$(in_minikube status --format '{{.APIServer}}' 2>/dev/null | head -n 1)" = Running ]
}

start_minikube() {
    if is_running; then
        say "Minikube already runs (profile $profile)"
    else
        say "Starting Minikube (profile $profile)"
        if minikube profile list --output json 2>/dev/null | grep -q "\"Name\":\"$profile\""; then
            # Its size was set when it was created.
            in_minikube start
        else
            in_minikube start --cpus "$cpus" --memory "$memory"
        fi
    fi
    # For `kubectl top` and for autoscaling.
    in_minikube addons enable metrics-server >/dev/null
}

# ---- Images

# Builds the images and loads the new ones into Minikube. Sets `tag`.
#
# This machine compiles them: Minikube has neither the memory nor the results of the last build. The tag depends on the content of the images,
# for two reasons: Minikube does not replace an image that is in use under the same name, and pods are replaced only when something is new.
tag=
build_images() {
    say "Building the images with $builder (20 minutes or more the first time; later only what has changed)"
    # Attestations contain the time, so they would make every build a new image.
    BUILDX_NO_DEFAULT_ATTESTATIONS=1 make --no-print-directory -C "$here" images \
        IMAGE_TOOL="$builder" IMAGE_PREFIX="$prefix" IMAGE_TAG=dev
    local program ids='' there staging
    for program in "${programs[@]}"; do
        ids+=$("$builder" image inspect --format '{{.Id}}' "$prefix/$program:dev")
    done
    tag=dev-$(printf '%s' "$ids" | cksum | cut -d ' ' -f 1)

    there=$(in_minikube image ls)
    staging=$(mktemp -d)
    # shellcheck disable=SC2064 # The directory as it is now.
    trap "rm -rf '$staging'" EXIT
    for program in "${programs[@]}"; do
        grep -qxF "$prefix/$program:$tag" <<<"$there" && continue
        say "Loading $program into Minikube"
        "$builder" tag "$prefix/$program:dev" "$prefix/$program:$tag"
        "$builder" save --output "$staging/$program.tar" "$prefix/$program:$tag"
        "$builder" rmi "$prefix/$program:$tag" >/dev/null
        in_minikube image load "$staging/$program.tar"
        rm "$staging/$program.tar"
    done
}

# Removes the images of earlier builds from Minikube.
remove_old_images() {
    local old=() image
    while read -r image; do
        case $image in
            "$prefix"/*:"$tag") ;;
            "$prefix"/*:dev-*) old+=("$image") ;;
        esac
    done < <(in_minikube image ls)
    [ ${#old[@]} -gt 0 ] || return 0
    # A pod that still terminates may use one.
    in_minikube image rm "${old[@]}" >/dev/null 2>&1 || echo "Some images of earlier builds are still in use; the next run removes them."
}

# ---- Microblog

install_microblog() {
    say "Installing Microblog ($prefix, $tag) into namespace $namespace"
    in_cluster create namespace "$namespace" --dry-run=client --output yaml | in_cluster apply --filename - >/dev/null
    # No pod there needs more privileges than the restricted standard allows.
    in_cluster label namespace "$namespace" --overwrite pod-security.kubernetes.io/enforce=restricted >/dev/null
    # Helm installs CustomResourceDefinitions, but never updates them.
    in_cluster apply --server-side --force-conflicts --filename "$here/helm/microblog/crds" >/dev/null
    if ! with_helm upgrade --install "$release" "$here/helm/microblog" --values "$values" \
        --set-string "image.registry=${prefix%%/*},image.repository=${prefix#*/},image.tag=$tag" \
        --wait --timeout "$timeout" ${further[@]+"${further[@]}"} >/dev/null; then
        printf '\n' >&2
        in_namespace get pods >&2 || true
        die "Microblog is not installed, or did not become ready. See the logs: ./minikube.sh logs$(where)"
    fi
}

try_microblog() {
    say "Testing it: register, post, follow, read"
    if ! with_helm test "$release" --timeout "$timeout" >/dev/null; then
        in_namespace logs "$release-smoke" >&2 || true
        die "It is installed, but does not work. See the logs: ./minikube.sh logs$(where)"
    fi
}

# ---- Ports

state=${XDG_STATE_HOME:-$HOME/.local/state}/microblog

# Forwards a port of a Service until it is stopped. kubectl forwards to one pod and ends with that pod; then the Service has another pod.
keep_forwarding() { # COMPONENT LOCAL REMOTE
    local child=
    trap 'kill "$child" 2>/dev/null || true; wait "$child" || true; exit 0' TERM
    # A user who closes the terminal still wants to use Microblog.
    trap '' HUP
    while true; do
        kubectl --context "$context" --namespace "$namespace" port-forward --address 127.0.0.1 "service/$release-$1" "$2:$3" &
        child=$!
        wait "$child" || true
        sleep 1 &
        child=$!
        wait "$child"
    done
}

pid_file() { printf '%s/%s-%s.pid' "$state" "$profile" "$1"; } # COMPONENT

# The process that forwards to a component. Fails if there is none, or if another program has the same process id now.
forwarder() { # COMPONENT
    local pid
    pid=$(cat "$(pid_file "$1")" 2>/dev/null) || return 1
    case $(ps -p "$pid" -o args= 2>/dev/null) in
        *minikube.sh*) printf '%s' "$pid" ;;
        *) return 1 ;;
    esac
}

stop_forwarding() { # COMPONENT
    local pid
    if pid=$(forwarder "$1"); then
        kill "$pid"
        # It stops kubectl before it ends itself: then the port is free.
        while forwarder "$1" >/dev/null; do sleep 0.1; done
    fi
    rm -f "$(pid_file "$1")"
}

start_forwarding() { # COMPONENT LOCAL REMOTE
    # Always start again: the pod behind the current forward may be gone.
    stop_forwarding "$1"
    if (: <"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then
        die "port $2 is taken. Does \`make run\` run? Choose another port: ./minikube.sh up --$1-port PORT"
    fi
    mkdir -p "$state"
    : >"$state/$profile-$1.log"
    keep_forwarding "$@" >"$state/$profile-$1.log" 2>&1 </dev/null &
    printf '%s\n' "$!" >"$(pid_file "$1")"
    if ! curl --silent --fail --output /dev/null --noproxy '*' --max-time 5 --retry 60 --retry-delay 1 --retry-all-errors \
        "http://127.0.0.1:$2/readyz"; then
        cat "$state/$profile-$1.log" >&2
        die "nothing answers on port $2"
    fi
}

# ---- Commands

up() {
    require minikube kubectl helm curl
    if [ -n "$images" ]; then
        prefix=${images%:*}
        tag=${images##*:}
    else
        require make
        require_builder
    fi
    start_minikube
    [ -n "$images" ] || build_images
    install_microblog
    say "Forwarding ports"
    start_forwarding gateway "$gateway_port" 8080
    start_forwarding command "$command_port" 8081
    start_forwarding query "$query_port" 8082
    try_microblog
    [ -n "$images" ] || remove_old_images
    cat <<NEXT

Microblog runs.

  http://127.0.0.1:$gateway_port/       everything at one address
  http://127.0.0.1:$command_port/docs   the API for writing: users, sessions, posts, likes, reposts, follows
  http://127.0.0.1:$query_port/docs   the API for reading: timelines, posts, threads, profiles, followers

Look around:

  kubectl --context $context --namespace $namespace get pods,projections
  kubectl --context $context --namespace $namespace top pods
  ./minikube.sh logs query$(where) -- --follow

Run the whole API as a story (needs Node.js), or open it in Postman with the environment "Microblog: Minikube":

  postman/install && postman/run minikube$(postman_addresses)

Load a small community, so that the timelines are not empty (needs \`make build\`):

  target/quick/microblog demo --command-url http://127.0.0.1:$gateway_port --query-url http://127.0.0.1:$gateway_port

After a change, run the same command again. To stop: ./minikube.sh down$(where)
NEXT
    [ "$open" = no ] || open_page "http://127.0.0.1:$gateway_port/"
}

open_page() { # URL
    local tool
    for tool in xdg-open open; do
        if present "$tool" && "$tool" "$1" >/dev/null 2>&1; then return 0; fi
    done
    die "no browser can be opened here. Please open $1 yourself."
}

# The options with which other commands find what this one has created.
where() {
    [ "$profile" = microblog ] || printf ' --profile %s' "$profile"
    [ "$namespace" = microblog ] || printf ' --namespace %s' "$namespace"
    [ "$context" = "$profile" ] || printf ' --context %s' "$context"
}

# The addresses that the story needs when the ports are not the default ones.
postman_addresses() {
    [ "$command_port" = 8081 ] || printf ' --env-var commandUrl=http://127.0.0.1:%s' "$command_port"
    [ "$query_port" = 8082 ] || printf ' --env-var queryUrl=http://127.0.0.1:%s' "$query_port"
}

status() {
    require minikube kubectl helm
    local all_is_well=0 component pid
    if ! is_running; then
        echo "Minikube does not run (profile $profile): ./minikube.sh up$(where)"
        return 1
    fi
    echo "Minikube runs (profile $profile)"
    echo
    if ! with_helm status "$release" 2>/dev/null | grep -E '^(LAST DEPLOYED|STATUS|REVISION): '; then
        echo "Microblog is not installed (namespace $namespace): ./minikube.sh up$(where)"
        return 1
    fi
    echo
    in_namespace get deployments,statefulsets,pods
    in_namespace wait --for condition=Available deployments --all --timeout 0s >/dev/null 2>&1 || all_is_well=1
    echo
    for component in gateway command query; do
        if pid=$(forwarder "$component"); then
            echo "$component is forwarded by process $pid: $(tail -n 1 "$state/$profile-$component.log")"
        else
            echo "$component is not forwarded: ./minikube.sh up$(where)"
            all_is_well=1
        fi
    done
    return "$all_is_well"
}

logs() { # [COMPONENT]
    require kubectl
    local selector=app.kubernetes.io/instance=$release
    [ $# -eq 0 ] || selector+=,app.kubernetes.io/component=$1
    in_namespace logs --selector "$selector" --all-containers --prefix --max-log-requests 50 --tail 200 ${further[@]+"${further[@]}"}
}

down() {
    require minikube
    stop_forwarding gateway
    stop_forwarding command
    stop_forwarding query
    if [ "$delete" = yes ]; then
        say "Deleting the Minikube profile $profile and all data in it"
        in_minikube delete
    else
        say "Stopping Minikube (profile $profile)"
        in_minikube stop
        echo "All data are kept. To continue: ./minikube.sh up$(where). To delete everything: ./minikube.sh down --delete$(where)"
    fi
}

command=${1:-help}
[ $# -eq 0 ] || shift
words=()
while [ $# -gt 0 ]; do
    case $1 in
        --profile | --cpus | --memory | --images | --namespace | --values | --gateway-port | --command-port | --query-port | --context | --timeout)
            [ $# -ge 2 ] || misused "$1 needs a value"
            name=${1#--}
            printf -v "${name//-/_}" '%s' "$2"
            shift
            ;;
        --open) open=yes ;;
        --delete) delete=yes ;;
        --)
            shift
            further=("$@")
            break
            ;;
        -*) misused "there is no option $1" ;;
        *) words+=("$1") ;;
    esac
    shift
done
context=${context:-$profile}
case $images in
    '' | */*:*) ;;
    *) misused "--images needs PREFIX:TAG, for example registry.example.org/you/microblog:0.1.0" ;;
esac

case $command in
    up | status | down) [ ${#words[@]} -eq 0 ] || misused "$command takes no ${words[0]}" ;;
    logs) [ ${#words[@]} -le 1 ] || misused "logs takes one component" ;;
esac
case $command in
    up | status | down) "$command" ;;
    logs) logs ${words[@]+"${words[@]}"} ;;
    help | --help | -h) usage ;;
    *) misused "there is no command $command" ;;
esac
