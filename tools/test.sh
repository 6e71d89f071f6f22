#!/usr/bin/env bash
# All tests. The QEMU machines run beside the others: without KVM they mostly wait for an emulated processor.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
log=.cache/machines.log
.venv/bin/python -m pytest tests/integration lab/tests -m machine > "$log" 2>&1 < /dev/null &
machines=$!
trap 'kill -INT "$machines" 2>/dev/null; wait "$machines"' INT TERM
.venv/bin/python -m pytest tests/unit engine/tests lab/tests tests/integration -m 'not machine'
others=$?
wait "$machines"
status=$?
printf '\nmachines (whole log: %s)\n' "$log"
if [ "$status" -eq 0 ]; then tail -n 3 "$log"; else cat "$log"; fi
exit $((others > status ? others : status))
