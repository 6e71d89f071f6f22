#!/usr/bin/env bash
# Compiles the requirements. No index address may get into the lock files.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  .venv/bin/uv pip compile --quiet --universal --python-version "$1" --generate-hashes --no-emit-index-url \
    --custom-compile-command 'make lock' "${@:4}" "$2" -o "$3"
}
compile 3.11 requirements/runtime.in requirements/runtime.txt
compile 3.11 requirements/dev.in requirements/dev.txt
for input in roles/model/files/locks/*.in; do
  compile 3.8 "$input" "${input%.in}.txt"
done
