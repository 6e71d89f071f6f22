#!/usr/bin/env bash
# Molecule in a lab of its own; the checkout's lab may run beside it. ROLE names one scenario; without it all run.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH
export NANOBANANA_LAB_STATE=$PWD/.cache/molecule/lab NANOBANANA_ARTIFACTS_DIR=$PWD/.cache/molecule/artifacts
export ANSIBLE_CACHE_PLUGIN_CONNECTION=$PWD/.cache/molecule/facts MOLECULE_GLOB='molecule/*/molecule.yml'
if [ $# -eq 0 ]; then
  if [ -n "${ROLE:-}" ]; then set -- test --scenario-name "$ROLE"; else set -- test --all; fi
fi
mkdir -p .cache/molecule
# Machines where a container cannot show it. Without root there are no containers: all are machines then.
if [ "$(id -u)" -eq 0 ]; then
  python -m lab up --guests podman --rule 'nb-machine-*=qemu'
else
  python -m lab up --guests qemu
fi
# `molecule converge` and the like leave their VMs for a look; a whole test leaves nothing.
[ "$1" != test ] || trap 'python -m lab down' EXIT
molecule "$@"
