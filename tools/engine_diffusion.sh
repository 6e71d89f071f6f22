#!/usr/bin/env bash
# The engine's tests with torch, once for each lock of engine/locks; arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
ran=0
for version in 3.10 3.12; do
  home=$(tools/engine_env.sh "$version") || { [ $? -eq 3 ] && continue; exit 1; }
  torch=$("$home/bin/python" -c 'import importlib.metadata as m; print(m.version("torch"))')
  printf 'engine: Python %s, torch %s\n' "$version" "$torch"
  HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 PYTHONPATH=engine/src \
    "$home/bin/python" -m pytest -q -p no:cacheprovider -c engine/pyproject.toml --rootdir engine engine/tests/diffusion "$@"
  ran=$((ran + 1))
done
[ "$ran" -gt 0 ] || { printf 'engine: expected Python 3.10 or 3.12; found neither, so nothing was tested\n' >&2; exit 1; }
