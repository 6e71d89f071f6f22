#!/usr/bin/env bash
# ansible-test sanity through the collection link, as far as it runs without Ansible's own download site.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
# ansible-test keeps caches and environments in the home folder: give it one of ours.
export HOME=$root/.cache/sanity-home
mkdir -p "$HOME/.ansible/test/cache"
# It would download this script; the stand-in makes pip from Python's own ensurepip, then installs what is asked for.
cat > "$HOME/.ansible/test/cache/get_pip_24_2.py" <<'PY'
import subprocess
import sys

unknown = ("--no-setuptools", "--no-wheel")
subprocess.check_call([sys.executable, "-m", "ensurepip", "--upgrade", "--default-pip"], stdout=subprocess.DEVNULL)
arguments = [argument for argument in sys.argv[1:] if argument not in unknown]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *arguments]))
PY
version=$("$root/.venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
export ANSIBLE_TEST_CONTENT_ROOT=$root/.collections/ansible_collections/nanobanana/testbed
# validate-modules breaks off at a PowerShell module where there is no pwsh; test_win_collect.py reads its options from the text.
exec "$root/.venv/bin/ansible-test" sanity --python "$version" --exclude engine/ --exclude lab/ --exclude tests/verify/ \
  --exclude tests/drill/ --exclude plugins/modules/win_collect.ps1 "$@"
