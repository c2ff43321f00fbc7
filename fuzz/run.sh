#!/bin/sh
# Every fuzz target for so many seconds (20 without an argument), one after the other.
# Needs a nightly toolchain and cargo-fuzz (`cargo install cargo-fuzz`).
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-20}
cargo +nightly fuzz build
for target in multipart headers messages media config ai; do
  echo "fuzz $target for $seconds s"
  cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -rss_limit_mb=4096
done
