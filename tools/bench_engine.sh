#!/usr/bin/env bash
# The engine's memory plans beside diffusers' own offloading, on the newest torch; arguments go to engine/bench.
set -euo pipefail
cd "$(dirname "$0")/.."
home=$(tools/engine_env.sh 3.12) || home=$(tools/engine_env.sh 3.10)
home=$PWD/$home
cd engine
HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 PYTHONPATH=src exec "$home/bin/python" -m bench.gpu "$@"
