#!/usr/bin/env bash
# Every linter, the same in CI and here. Stops at the first that finds something.
set -euo pipefail
cd "$(dirname "$0")/.."
step() {
  local started=$SECONDS
  printf 'lint: %s ... ' "$1"
  if ! "${@:2}" > .cache/lint.log 2>&1; then
    printf 'failed\n'
    cat .cache/lint.log
    exit 1
  fi
  printf 'ok (%d s)\n' $((SECONDS - started))
}
documents() {
  ansible-doc -t module nanobanana.testbed.fleet nanobanana.testbed.preflight_guest nanobanana.testbed.preflight_inventory
  ansible-doc -t filter nanobanana.testbed.wishes
  ansible-doc -t callback nanobanana.testbed.report
  antsibull-docs lint-collection-docs --plugin-docs --disallow-unknown-collection-refs --skip-rstcheck .
}
go_vet() {
  local go
  go=$(python -m lab go)
  (cd lab/vcenter && "$go" vet ./... && test -z "$("$(dirname "$go")/gofmt" -l .)")
}
mkdir -p .cache
step "ruff" ruff check .
step "ruff format" ruff format --check .
step "mypy" mypy
step "yamllint" yamllint -s .
step "ansible-lint" ansible-lint --offline -q
step "ansible-doc" documents
step "go vet" go_vet
step "ansible-test sanity" tools/sanity.sh
