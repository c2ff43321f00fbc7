#!/bin/sh
# Prints the path of a Python that has what requirements.txt names; makes it where it is not there.
set -eu
peers=$(cd "$(dirname "$0")" && pwd)
venv=$(cd "$peers/../.." && pwd)/target/peers-venv
if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "Python 3.11 or newer with venv is needed: apt-get install python3 python3-venv" >&2
  exit 69
fi
stamp=$venv/requirements.txt
if ! cmp -s "$peers/requirements.txt" "$stamp"; then
  python3 -m venv --clear "$venv" >&2
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$peers/requirements.txt" >&2
  cp "$peers/requirements.txt" "$stamp"
fi
echo "$venv/bin/python"
