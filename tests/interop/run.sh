#!/bin/sh
# Runs the built proxy among real livepeer processes.
# Usage: LIVEPEER_BIN=/path/a[:/path/b] tests/interop/run.sh [--long] [PYTEST ARGUMENTS]
# Without LIVEPEER_BIN nothing runs, and the last line says how much that is.
# OPENPOOL_BIN names the proxy's binary (target/debug/openpool-proxy).
set -eu
interop=$(cd "$(dirname "$0")" && pwd)
python=$("$interop/../peers/python.sh")
export PYTHONDONTWRITEBYTECODE=1
exec "$python" -m pytest -c "$interop/pytest.ini" -p no:cacheprovider --rootdir "$interop" "$interop" "$@"
