#!/usr/bin/env bash
# Makes .venv from the hash-locked requirements. Repeating it is cheap: uv changes only what differs.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

say() { printf '%s\n' "$*" >&2; }

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  say "setup: expected Python 3.11 or newer as '$python'; found $("$python" --version 2>&1 || true)."
  say "Next: install one (Debian 12, Ubuntu 24.04: apt-get install python3 python3-venv), or: make setup PYTHON=/path/to/python3"
  exit 3
fi
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    say "setup: installing python3-venv (Debian keeps ensurepip there)"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
  else
    say "setup: expected Python's ensurepip; found none. Next: sudo apt-get install python3-venv"
    exit 3
  fi
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
if ! [ -x .venv/bin/uv ]; then
  # The one package that cannot come from uv; its version and hashes are those of the lock file.
  grep -A 30 '^uv==' requirements/dev.txt | awk 'NR > 1 && !/^    --hash/ { exit } { print }' | sed '$ s/ *\\$//' > .venv/uv.txt
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.txt
fi
.venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes requirements/dev.txt
# uv leaves compiling to the first import, which where PYTHONDONTWRITEBYTECODE is set (containers, some CI) is every
# import: half a second of each ansible-playbook. The other collections' modules are packed as source anyway.
.venv/bin/python -m compileall -q -j 0 -x 'ansible_collections|ansible_test|/tests/' .venv/lib || true
ln -sfn ../../lab/lab .venv/bin/lab
