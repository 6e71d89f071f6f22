#!/usr/bin/env bash
# Every linter, the same in CI and here, in two lanes: the two slow ones take as long as all the others. A lane stops at the
# first that finds something.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
export PATH=$PWD/.venv/bin:$PATH
step() {
  local started=$SECONDS log
  log=.cache/lint-${1//[^a-z]/-}.log
  if ! "${@:2}" > "$log" 2>&1; then
    printf 'lint: %s failed\n' "$1"
    cat "$log"
    exit 1
  fi
  printf 'lint: %s ok (%d s)\n' "$1" $((SECONDS - started))
}
# Each function is one chain of &&: `set -e` does not reach into a condition.
documents() {
  export ANSIBLE_CONFIG=$PWD/ansible.cfg
  local kind file
  for kind in module filter callback inventory; do
    local folder=plugins/$kind
    [ "$kind" = module ] && folder=plugins/modules
    for file in "$folder"/*.py; do
      ansible-doc -t "$kind" "nanobanana.testbed.$(basename "$file" .py)" || return 1
    done
  done
  antsibull-docs lint-collection-docs --plugin-docs --disallow-unknown-collection-refs --skip-rstcheck .
}
go_vet() {
  local go gofmt folder unformatted
  go=$(python -c 'from lab.build import go_program; print(go_program())') &&
  gofmt=$("$go" env GOROOT)/bin/gofmt || return 1
  for folder in lab/vcenter tests/integration/govmomi; do
    (cd "$folder" && "$go" vet ./...) || return 1
    unformatted=$("$gofmt" -l "$folder") && test -z "$unformatted" || { echo "gofmt -w $unformatted"; return 1; }
  done
}
mkdir -p .cache
(step "ansible-test sanity" tools/sanity.sh) &
slow=$!
(
  step "ruff" ruff check .
  step "ruff format" ruff format --check .
  step "mypy" mypy
  step "yamllint" yamllint -s .
  step "ansible-lint" ansible-lint --offline -q
  step "ansible-doc" documents
  step "go vet" go_vet
)
fast=$?
wait "$slow" && exit "$fast"
