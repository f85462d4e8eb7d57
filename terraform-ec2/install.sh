#!/bin/bash
# Installs k3s and Helm, each of a pinned release with a known checksum, and Microblog by its chart. It runs at the machine's first start, and
# whenever somebody starts it. It is idempotent: it changes only what differs from /etc/microblog, so it also upgrades.
set -euo pipefail

bin=${BIN:-/usr/local/bin}
etc=${ETC:-/etc}
manifests=${MANIFESTS:-/var/lib/rancher/k3s/server/manifests}
disks=${DISKS:-/dev/disk/by-id}
data=${DATA:-/var/lib/rancher}
# K3S_VERSION, K3S_SHA256, HELM_VERSION, HELM_SHA256, CHART, CHART_VERSION, DATA_VOLUME
# shellcheck source=/dev/null
. "$etc/microblog/settings"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Keeps a file only if it has this checksum.
fetch() { # URL SHA256 FILE
    curl --fail --silent --show-error --location --retry 10 --retry-all-errors --connect-timeout 20 --output "$3" "$1"
    if ! echo "$2  $3" | sha256sum --check --status; then
        echo "$1 has another checksum than the expected $2" >&2
        rm -f "$3"
        exit 1
    fi
}

case $(uname -m) in
    aarch64) k3s_program=k3s-arm64 architecture=arm64 ;;
    *) k3s_program=k3s architecture=amd64 ;;
esac

# ---- The data disk: all data of k3s, Secrets included, and every volume of its pods

mount_data() {
    # The name that Nitro machines give an EBS volume.
    local disk=$disks/nvme-Amazon_Elastic_Block_Store_${DATA_VOLUME/-/} waited=0
    # AWS attaches the disk after the machine has started.
    until [ -e "$disk" ]; do
        if [ "$waited" -ge "${DISK_WITHIN:-600}" ]; then
            echo "The volume $DATA_VOLUME is not attached after $waited seconds: $disk does not exist." >&2
            exit 1
        fi
        sleep 5
        waited=$((waited + 5))
    done
    # An earlier machine may have left its data there. mkfs.xfs also refuses a disk with content.
    if ! blkid "$disk" >/dev/null; then mkfs.xfs -q "$disk"; fi
    mkdir -p "$data"
    if ! grep -qs " $data " "$etc/fstab"; then
        # Without the disk, the machine starts, so that somebody can look at it. k3s does not start.
        echo "UUID=$(blkid --match-tag UUID --output value "$disk") $data xfs defaults,nofail,x-systemd.device-timeout=60s 0 2" >>"$etc/fstab"
    fi
    mountpoint --quiet "$data" || mount "$data"
    # k3s recognises the node by its password.
    mkdir -p "$data/node" "$etc/rancher"
    ln -sfn "$data/node" "$etc/rancher/node"
}
mount_data

# ---- k3s

install_k3s() {
    fetch "https://github.com/k3s-io/k3s/releases/download/${K3S_VERSION/+/%2B}/$k3s_program" "$K3S_SHA256" "$work/k3s"
    install -m 0755 "$work/k3s" "$bin/k3s"

    mkdir -p "$etc/rancher/k3s" "$manifests"
    cat >"$etc/rancher/k3s/config.yaml" <<'CONFIG'
# The same name on every machine: volumes belong to a node by its name.
node-name: microblog
write-kubeconfig-mode: "0600"
secrets-encryption: true
CONFIG
    # Otherwise every request would seem to come from the machine itself, and all clients would share one limit.
    cat >"$manifests/traefik-config.yaml" <<'CONFIG'
apiVersion: helm.cattle.io/v1
kind: HelmChartConfig
metadata:
  name: traefik
  namespace: kube-system
spec:
  valuesContent: |-
    service:
      spec:
        externalTrafficPolicy: Local
CONFIG
    cat >"$etc/systemd/system/k3s.service" <<UNIT
[Unit]
Description=Lightweight Kubernetes
Documentation=https://k3s.io
Wants=network-online.target
After=network-online.target
RequiresMountsFor=$data

[Install]
WantedBy=multi-user.target

[Service]
Type=notify
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart=$bin/k3s server
# Containers outlive a restart of k3s.
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
UNIT
    # This also reloads the mount.
    systemctl daemon-reload
    systemctl enable k3s.service
    # The restart returns when Kubernetes answers.
    systemctl restart k3s.service
}

if ! echo "$K3S_SHA256  $bin/k3s" | sha256sum --check --status 2>/dev/null; then
    install_k3s
fi
kubectl() { "$bin/k3s" kubectl "$@"; }
export KUBECONFIG=${KUBECONFIG:-$etc/rancher/k3s/k3s.yaml}

# ---- Helm

if [ "$("$bin/helm" version --template '{{.Version}}' 2>/dev/null)" != "$HELM_VERSION" ]; then
    fetch "https://get.helm.sh/helm-$HELM_VERSION-linux-$architecture.tar.gz" "$HELM_SHA256" "$work/helm.tar.gz"
    tar --extract --gzip --file "$work/helm.tar.gz" --directory "$work" "linux-$architecture/helm"
    install -m 0755 "$work/linux-$architecture/helm" "$bin/helm"
fi

# ---- Microblog

case $CHART in
    *.git)
        command -v git >/dev/null || dnf --assumeyes --quiet install git-core
        git clone --quiet --depth 1 --branch "$CHART_VERSION" "$CHART" "$work/repository"
        from=("$work/repository/helm/microblog")
        ;;
    oci://*) from=("$CHART" --version "$CHART_VERSION") ;;
    *) from=("$CHART") ;;
esac
values=()
for file in "$etc"/microblog/values-*.yaml; do values+=(--values "$file"); done

# No pod there needs more privileges than the restricted standard allows.
kubectl apply --filename - <<'NAMESPACE'
apiVersion: v1
kind: Namespace
metadata:
  name: microblog
  labels:
    pod-security.kubernetes.io/enforce: restricted
NAMESPACE
"$bin/helm" upgrade --install microblog "${from[@]}" --namespace microblog "${values[@]}" --wait --timeout 20m
"$bin/helm" test microblog --namespace microblog --timeout 5m
