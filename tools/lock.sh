#!/usr/bin/env bash
# Compiles the requirements. No index address may get into the lock files.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  .venv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' "${@:3}" "$1" -o "$2"
}
compile requirements/runtime.in requirements/runtime.txt --universal --python-version 3.11
compile requirements/dev.in requirements/dev.txt --universal --python-version 3.11
# A model's lock is for one system and one Python: its first line says for which, in uv's words.
for input in roles/model/files/locks/*.in engine/locks/*.in; do
  read -r -a options < <(sed -n '1s/^# uv: //p' "$input")
  compile "$input" "${input%.in}.txt" "${options[@]}"
done
