#!/bin/sh
# Runs one case by its id: ./run_test.sh TC-2024-001
# Prints one JSON line. Exit status: 0 passed, 1 failed or could not be run, 2 unknown case or bad usage.
here=$(cd "$(dirname "$0")" && pwd) || exit 1

# When not even Python can tell what is wrong; the id is shown when it cannot break the line.
refuse() {
    case ${id:-} in *[!A-Za-z0-9_-]*) id= ;; esac
    printf '{"id": "%s", "status": "error", "error": "%s"}\n' "${id:-}" "$1"
    printf '%s\n' "$1" >&2
    exit 1
}

id=${1:-}
[ -r "$here/environment" ] || refuse 'expected the file environment beside run_test.sh; found none. Next: run the role model'
set -a
# shellcheck source=/dev/null
. "$here/environment"
set +a
python=$NANO_BANANA_VENV/bin/python
[ -x "$python" ] || refuse 'expected the environment of the model to have a Python; found none. Next: run the roles pyenv and model'
exec "$python" -I "$here/run_case.py" "$here" "${NANO_BANANA_CASES:-$here/cases.json}" "$@"
