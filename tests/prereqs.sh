#!/bin/sh
# What a bare Debian machine with Rust lacks: says so, then installs it.
set -eu
missing=""
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need cc build-essential
need cmake cmake
need python3 python3
need openssl openssl
need ffmpeg ffmpeg
python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || missing="$missing python3-venv"
command -v cargo >/dev/null 2>&1 || { echo "cargo is missing: install Rust first (rustup), then run this again" >&2; exit 1; }
# With the argument `lint`: what a minimal toolchain leaves out.
if [ "${1:-}" = lint ] && ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
  command -v rustup >/dev/null 2>&1 || { echo "cargo fmt and cargo clippy are missing: install both, then run this again" >&2; exit 1; }
  echo "Installing rustfmt and clippy: rustup component add rustfmt clippy"
  rustup component add rustfmt clippy
fi
[ -n "$missing" ] || exit 0
echo "The build and its tests need:$missing"
command -v apt-get >/dev/null 2>&1 || { echo "no apt-get here: install these by hand, then run this again" >&2; exit 1; }
sudo=""; [ "$(id -u)" = 0 ] || sudo="sudo"
echo "Installing them: $sudo apt-get install -y$missing"
$sudo apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq $missing >/dev/null
