#!/usr/bin/env bash
# Molecule in a lab of its own, whose VMs are QEMU machines; the checkout's lab may run beside it.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH
export NANOBANANA_LAB_STATE=$PWD/.cache/molecule/lab NANOBANANA_ARTIFACTS=$PWD/.cache/molecule/artifacts
export ANSIBLE_CACHE_PLUGIN_CONNECTION=$PWD/.cache/molecule/facts MOLECULE_GLOB='molecule/*/molecule.yml'
[ $# -gt 0 ] || set -- test -s machine
mkdir -p .cache/molecule
python -m lab up --guests qemu
# `molecule converge` and the like leave their VMs for a look; a whole test leaves nothing.
[ "$1" != test ] || trap 'python -m lab down' EXIT
molecule "$@"
