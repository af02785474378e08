#!/bin/sh
# Installs what building and testing needs; says nothing and changes nothing when all is there.
#
# Needed: a C compiler, the Rust toolchain of Cargo.toml. For real containers and packets: runc, nft, ip, nginx, and a
# static busybox, which the live tests' image is made of. For clients in Python: Python with venv. For those in Go, and for
# Kubernetes itself: Go, which is put into the cache if there is none.
# As root on Debian the missing packages are installed; otherwise they are named. What is only needed for the lab and the
# live tests never fails this script: those tests then say what they miss.
set -eu
cd "$(dirname "$0")/.."
PATH="$HOME/.cargo/bin:$PATH"

say() { echo "setup: $*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

# Debian packages whose program is missing; /usr/sbin is not in every user's path.
missing_packages() {
    while read -r program package; do
        has "$program" || [ -x "/usr/sbin/$program" ] || printf '%s ' "$package"
    done <<LIST
$1
LIST
}

NEEDED="cc gcc
make make
curl curl
git git"

LAB="runc runc
nft nftables
ip iproute2
nginx nginx-light"

install_packages() {
    if [ "$(id -u)" != 0 ] || ! has apt-get; then
        return 1
    fi
    say "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    # A machine with fresh lists need not fetch them again.
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 && return
    apt-get update -qq >/dev/null 2>&1 || true
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# The services that a package starts are not wanted: the lab runs its own in namespaces.
no_services() {
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
}

# A busybox that needs libraries is no use in an image that has none.
missing_busybox() {
    if [ ! -x /bin/busybox ] || ldd /bin/busybox >/dev/null 2>&1; then printf 'busybox-static '; fi
}

# Debian's Python cannot make environments without a package of its own.
missing_venv() {
    if ! python3 -c 'import ensurepip' >/dev/null 2>&1; then printf 'python3-venv '; fi
}

ensure_packages() {
    needed=$(missing_packages "$NEEDED")
    lab=$(missing_packages "$LAB")$(missing_busybox)$(missing_venv)
    [ -n "$needed$lab" ] || return 0
    if [ "$(id -u)" = 0 ]; then no_services; fi
    if [ -n "$needed" ]; then
        # shellcheck disable=SC2086 # a list of words
        install_packages $needed || { say "please install: $needed"; exit 1; }
    fi
    if [ -n "$lab" ]; then
        # shellcheck disable=SC2086
        install_packages $lab || say "for the lab, the demo and the live tests please install: $lab"
    fi
}

# True when cargo is at least the version that Cargo.toml asks for.
rust_is_new_enough() {
    has cargo && has rustc || return 1
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    there=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n%s\n' "$wanted" "$there" | sort -V | head -n1)" = "$wanted" ]
}

ensure_rust() {
    if ! rust_is_new_enough; then
        if ! has rustup; then
            say "installing rustup"
            curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y -q --profile minimal --no-modify-path
        fi
        say "installing the stable Rust toolchain"
        rustup toolchain install stable --profile minimal --component rustfmt --component clippy >/dev/null
        rustup default stable >/dev/null
    fi
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        has rustup || { say "please install rustfmt and clippy"; exit 1; }
        rustup component add rustfmt clippy >/dev/null
    fi
}

go_is_new_enough() {
    has go || return 1
    there=$(go env GOVERSION | sed 's/^go//')
    [ "$(printf '%s\n%s\n' 1.26 "$there" | sort -V | head -n1)" = 1.26 ]
}

# Made beside its place, which then names it, so that an interrupted run leaves none.
ensure_go() {
    cache="${XDG_CACHE_HOME:-$HOME/.cache}/groma"
    if go_is_new_enough || [ -x "$cache/go/bin/go" ]; then return 0; fi
    say "fetching Go"
    mkdir -p "$cache"
    new=$(mktemp -d "$cache/go.XXXXXX")
    if python3 -m venv "$new" &&
        "$new/bin/python" -m pip install -q --require-hashes --only-binary :all: -r tests/go/requirements.txt >/dev/null 2>&1; then
        # Its scripts name the folder in which they were made, so it stays there.
        rm -rf "$cache/go"
        ln -s "$(basename "$new")" "$cache/go"
    else
        rm -rf "$new"
        say "Go cannot be had; the live tests with Kubernetes will say so"
    fi
}

ensure_packages
ensure_rust
ensure_go
