#!/bin/sh
# Runs the peers' own tests and the whole-process tests of the built proxy.
# Usage: tests/peers/run.sh [PYTEST ARGUMENTS]        all of it, or what is named
#        tests/peers/run.sh kill9 [--kills N --seed S] kill -9 at N random instants
# OPENPOOL_BIN names the binary (target/debug/openpool-proxy).
set -eu
peers=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$peers/../.." && pwd)
venv=$root/target/peers-venv
if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "Python 3.11 or newer with venv is needed: apt-get install python3 python3-venv" >&2
  exit 69
fi
stamp=$venv/requirements.txt
if ! cmp -s "$peers/requirements.txt" "$stamp"; then
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$peers/requirements.txt"
  cp "$peers/requirements.txt" "$stamp"
fi
export PYTHONDONTWRITEBYTECODE=1
if [ "${1:-}" = kill9 ]; then
  shift
  exec "$venv/bin/python" "$peers/kill9.py" "$@"
fi
[ $# -gt 0 ] || set -- "$peers"
exec "$venv/bin/python" -m pytest -c "$peers/pytest.ini" -p no:cacheprovider --rootdir "$peers" "$@"
