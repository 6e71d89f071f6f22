#!/usr/bin/env bash
# Prints the folder of the engine's environment for a Python version (3.10, 3.12), made from engine/locks if need be. It is some
# 5 GB, most of it CUDA, and is made once for each content of its lock. Ends with 3 where this machine has no such Python.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$1
lock=engine/locks/diffusion-py${version/./}.txt
home=.cache/engine/py$version
key=$(sha256sum "$lock" | cut -c1-16)
if [ "$(cat "$home/.key" 2>/dev/null)" != "$key" ]; then
  # A Python of that version: on PATH, or among pyenv's.
  python=
  for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python; do
    if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
      python=$candidate
      break
    fi
  done
  if [ -z "$python" ]; then
    printf 'not verified: no Python %s on this machine (%s). Next: pyenv install %s\n' "$version" "$lock" "$version" >&2
    exit 3
  fi
  printf 'engine: making %s from %s\n' "$home" "$lock" >&2
  rm -rf "$home"
  .venv/bin/uv venv --quiet --python "$python" "$home"
  .venv/bin/uv pip sync --quiet --python "$home/bin/python" --require-hashes "$lock"
  printf '%s' "$key" > "$home/.key"
fi
printf '%s\n' "$home"
