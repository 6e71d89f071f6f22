#!/usr/bin/env bash
# The engine's tests with torch, once for each lock of engine/locks: torch 2.1.0 on Python 3.10, the newest on 3.12. An environment
# is made once for each content of its lock (some 5 GB, most of it CUDA) and kept in .cache; ARGS go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
# A Python of that version: on PATH, or among pyenv's.
python_of() {
  local candidate
  for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
    if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}
ran=0
for lock in engine/locks/diffusion-py*.txt; do
  version=$(sed -E 's/.*-py(.)(.*)\.txt/\1.\2/' <<< "$lock")
  if ! python=$(python_of "$version"); then
    printf 'not verified: no Python %s on this machine (%s). Next: pyenv install %s\n' "$version" "$lock" "$version"
    continue
  fi
  home=.cache/engine/py$version
  key=$(sha256sum "$lock" | cut -c1-16)
  if [ "$(cat "$home/.key" 2>/dev/null)" != "$key" ]; then
    printf 'engine: making %s from %s\n' "$home" "$lock"
    rm -rf "$home"
    .venv/bin/uv venv --quiet --python "$python" "$home"
    .venv/bin/uv pip sync --quiet --python "$home/bin/python" --require-hashes "$lock"
    printf '%s' "$key" > "$home/.key"
  fi
  printf 'engine: Python %s, torch %s\n' "$version" "$("$home/bin/python" -c 'import importlib.metadata as m; print(m.version("torch"))')"
  HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 PYTHONPATH=engine/src \
    "$home/bin/python" -m pytest -q -p no:cacheprovider -c engine/pyproject.toml --rootdir engine engine/tests/diffusion "$@"
  ran=$((ran + 1))
done
[ "$ran" -gt 0 ] || { printf 'engine: expected Python 3.10 or 3.12; found neither, so nothing was tested\n' >&2; exit 1; }
