#!/bin/sh
# Runs the peers' own tests and the whole-process tests of the built proxy.
# Usage: tests/peers/run.sh [PYTEST ARGUMENTS]        all of it, or what is named
#        tests/peers/run.sh kill9 [--kills N --seed S] kill -9 at N random instants
# OPENPOOL_BIN names the binary (target/debug/openpool-proxy).
set -eu
peers=$(cd "$(dirname "$0")" && pwd)
python=$("$peers/python.sh")
export PYTHONDONTWRITEBYTECODE=1
if [ "${1:-}" = kill9 ]; then
  shift
  exec "$python" "$peers/kill9.py" "$@"
fi
[ $# -gt 0 ] || set -- "$peers"
exec "$python" -m pytest -c "$peers/pytest.ini" -p no:cacheprovider --rootdir "$peers" "$@"
