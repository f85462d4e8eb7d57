#!/bin/sh
# Checks for the tools that the first build needs besides Rust: a C compiler, make and CMake.
#
# On Debian and Ubuntu, as root or with sudo, it installs what is missing. Elsewhere it prints what to install, and fails. If nothing is
# missing, it does nothing and prints nothing.
set -eu

present() { command -v "$1" >/dev/null 2>&1; }

missing=""
if ! present "${CC:-cc}" && ! present gcc && ! present clang; then missing="$missing a-C-compiler"; fi
if ! present make && ! present gmake && ! present ninja; then missing="$missing make"; fi
if ! present cmake; then missing="$missing cmake"; fi
if [ -z "$missing" ]; then exit 0; fi

if present apt-get; then
    if [ "$(id -u)" -eq 0 ]; then
        as_root=""
    elif present sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        as_root="sudo"
    else
        echo "Missing:$missing. As root, run: apt-get update && apt-get install -y build-essential cmake" >&2
        exit 1
    fi
    echo "Missing:$missing. Installing build-essential and cmake with apt-get (about a minute)." >&2
    $as_root apt-get update >&2
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends build-essential cmake >&2
    exit 0
fi

echo "Missing:$missing. Please install them, then run this again:" >&2
echo "  Fedora, RHEL:  sudo dnf install gcc gcc-c++ make cmake" >&2
echo "  Arch:          sudo pacman -S base-devel cmake" >&2
echo "  Alpine:        sudo apk add build-base cmake linux-headers" >&2
echo "  openSUSE:      sudo zypper install gcc gcc-c++ make cmake" >&2
echo "  macOS:         xcode-select --install && brew install cmake" >&2
exit 1
