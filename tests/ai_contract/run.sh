#!/bin/sh
# Checks our runner port with peers that are not ours: schemathesis by a description of the API
# that was written from the facts, and two real readers of event streams. About half a minute.
# Usage: tests/ai_contract/run.sh [MAX_EXAMPLES]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=$root/target/ai-contract-venv
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$venv/requirements.txt"
fi
cd "$root"
cargo build --quiet --example runner_port
work=$(mktemp -d)
mkfifo "$work/in"
target/debug/examples/runner_port <"$work/in" >"$work/out" 2>"$work/err" &
server=$!
exec 9>"$work/in"
trap 'exec 9>&-; wait $server; rm -r "$work"' EXIT
tries=0
until [ -s "$work/out" ]; do
  tries=$((tries + 1))
  [ $tries -lt 200 ] && kill -0 $server || { cat "$work/err" >&2; exit 1; }
  sleep 0.1
done
base=$(cat "$work/out")
export PYTHONDONTWRITEBYTECODE=1
"$venv/bin/python" "$here/streams.py" "$base"
cd "$here"
SCHEMATHESIS_HOOKS=hooks PYTHONPATH="$here" "$venv/bin/schemathesis" run runner-api.yaml --url "$base" \
  --checks status_code_conformance,content_type_conformance,response_schema_conformance,positive_data_acceptance \
  --phases examples,coverage,fuzzing --max-examples "${1:-40}" --workers 2 --seed 1 --suppress-health-check all \
  --generation-database none --request-timeout 20
