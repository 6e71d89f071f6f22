# The front door. `make help` lists the verbs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
# Tools come from the locked environment; none may fetch an interpreter or a toolchain of its own.
export UV_PYTHON_DOWNLOADS := never
export GOTOOLCHAIN := local
COLLECTION := .collections/ansible_collections/nanobanana/testbed
PYTHON ?= python3
ARGS ?=
ROLE ?=
TRAP ?=

.PHONY: help setup lock demo site preflight preflight-drill test lint unit integration machines molecule acceptance
.PHONY: test-engine-diffusion bench-engine
.PHONY: bench-fleet bench-lab bench-configure bench-preflight lab-up lab-down clean

help: ## Show the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/.ready $(COLLECTION) ## Install the locked tools into .venv

.venv/.ready: requirements/dev.txt tools/setup.sh
	@PYTHON=$(PYTHON) tools/setup.sh
	@touch $@

# Ansible finds the checkout itself under its collection name (docs/adr/0002): an edited module is what runs.
$(COLLECTION):
	@mkdir -p $(@D) && ln -sfn ../../.. $@

lock: ## Compile requirements/*.in into hash-locked requirements/*.txt
	@tools/lock.sh

demo: setup ## The whole job on this machine: lab, three VMs, model, checks, report
	@$(BIN)/python -m lab setup
	@$(BIN)/python -m lab up
	@$(BIN)/ansible-playbook -i inventories/lab site.yml $(ARGS)

lab-up: setup ## Start the lab: a vCenter simulator whose VMs are real guests
	@$(BIN)/python -m lab setup
	@$(BIN)/python -m lab up

lab-down: setup ## Stop the lab and remove everything it made
	@$(BIN)/python -m lab down

site: setup ## ansible-playbook site.yml $(ARGS) in the project's environment
	@$(BIN)/ansible-playbook site.yml $(ARGS)

# Scripts that want the code call tools/preflight.py: GNU make ends with 2 whatever a recipe ends with.
preflight: setup ## The three gates, ARGS for ansible-playbook; its last line names the exit code of tools/preflight.py
	@$(BIN)/python tools/preflight.py $(ARGS)

preflight-drill: setup ## Break 25 things in a lab of its own, see each found and mended; TRAP=name is an exercise (6 minutes)
	@$(BIN)/python -m lab setup
	@PYTHONPATH=.collections $(BIN)/python -m tests.drill $(if $(TRAP),--trap $(TRAP)) $(ARGS)

test: lint ## Everything: linters, unit, integration, site.yml on a fresh lab, QEMU machines
	@$(BIN)/python -m lab setup --guests all
	@tools/test.sh

test-engine-diffusion: setup ## The engine's tests with torch, on Python 3.10 and 3.12 (6 GB of environments at the first time)
	@tools/engine_diffusion.sh $(ARGS)

lint: setup ## The linters
	@tools/lint.sh

unit: setup ## The tests that need neither root nor a lab
	@$(BIN)/python -m pytest -q -m 'not lab and not integration and not machine' tests/unit engine/tests lab/tests

integration: setup ## The tests against the lab's vCenter and podman guests
	@$(BIN)/python -m lab setup
	@$(BIN)/python -m pytest tests/integration lab/tests -m '(lab or integration) and not machine'

machines: setup ## The tests with QEMU guests
	@$(BIN)/python -m lab setup --guests qemu
	@$(BIN)/python -m pytest tests/integration lab/tests -m machine

molecule: setup ## The Molecule scenarios, in a lab of their own; ROLE=pyenv runs one, ARGS='converge -s pyenv' a part of it
	@$(BIN)/python -m lab setup --guests $(if $(filter 0,$(shell id -u)),all,qemu)
	@ROLE=$(ROLE) tools/molecule.sh $(ARGS)

bench-fleet: setup ## fleet beside vmware_guest, bare pyVmomi and the shortest possible time (20 minutes)
	@$(BIN)/python -m lab setup
	@PYTHONPATH=.collections $(BIN)/python -m tests.bench $(ARGS)

bench-lab: setup ## From power-on to the first login, with each kind of guest (5 minutes)
	@$(BIN)/python -m lab setup --guests all
	@PYTHONPATH=.collections $(BIN)/python -m tests.bench.lab $(ARGS)

bench-configure: setup ## Three hosts from bare clones, again, and a role's task beside a ping on 20 hosts (15 minutes)
	@$(BIN)/python -m lab setup
	@PYTHONPATH=.collections $(BIN)/python -m tests.bench.configure $(ARGS)

bench-engine: setup ## Memory and time of a full-size SDXL for each plan beside diffusers' own offloading; wants a CUDA GPU
	@tools/bench_engine.sh $(ARGS)

bench-preflight: setup ## The vSphere checks of 100 VMs, and the guest checks of one host (3 minutes)
	@$(BIN)/python -m lab setup
	@PYTHONPATH=.collections $(BIN)/python -m tests.bench.preflight $(ARGS)

acceptance: setup ## Read-only checks of a real vCenter; ARGS='-i inventories/NAME', default inventories/production
	@$(BIN)/ansible-playbook $(if $(filter -i --inventory%,$(ARGS)),,-i inventories/production) playbooks/acceptance.yml $(ARGS)

clean: ## Remove what the other verbs made in this checkout
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m lab down --purge; fi
	@rm -rf .venv .cache .collections artifacts tests/output engine/build nanobanana-testbed-*.tar.gz
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
