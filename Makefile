# One virtual environment, made on first need by whatever target you call; `make` alone lists the targets.

PY ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
FRESH := $(VENV)-constraints
SHELL := /bin/bash

# pip says a thousand things or nothing; this says where the minutes go.
define PROGRESS
awk '/^Collecting/ && ++n % 20 == 0 {print "  " n " packages found"} \
  / Downloading .*[0-9][0-9]\.?[0-9]* MB/ {print "  " $$1 " " $$2 " " $$3 " " $$4} \
  /^Installing collected/ && n {print "  installing " n " packages"} {fflush()}'
endef

.DEFAULT_GOAL := help
.PHONY: help setup demo up models test chaos fuzz check audit bench bench-gpu soak drill sweep keys format constraints

help: ## list what can be done
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## make .venv and install everything; PIP_FLAGS="--extra-index-url ..." chooses your CUDA or CPU torch

demo: $(INSTALLED) ## send a real photo through the whole service and check all that comes back
	@$(BIN)/python -m infra.demo

up: $(INSTALLED) ## run the whole service here until Ctrl-C; PORT=8000 DATA=.data and any IMG2IMG_* setting
	@$(BIN)/python -m infra.local

keys: $(INSTALLED) ## API keys in the Redis that IMG2IMG_REDIS_URL names; ARGS="create --tenant T", "list", "revoke ID"
	@$(BIN)/python -m api.keys $(or $(ARGS),list)

models: $(INSTALLED) ## fetch the weights that infra/models.yaml names; ARGS="fetch ID", "list" or "verify ID" chooses
	@$(BIN)/python -m infra.models $(or $(ARGS),fetch)

test: $(INSTALLED) ## everything that needs no GPU; ARGS="-k webhook" passes options to pytest
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

chaos: $(INSTALLED) ## break the whole service by a seed and check that nothing is lost; SECONDS=90 SEED=7 BREAK=outbox
	@$(BIN)/python -m tests.chaos $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(if $(BREAK),--break $(BREAK))

fuzz: $(INSTALLED) ## what /openapi.json says, tried out on the whole service; ARGS="--max-time 600 --seed 7" chooses
	@$(BIN)/python -m infra.fuzz $(ARGS)

check: $(INSTALLED) ## format, lint, types, import contracts, dangerous calls
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/bandit -q -r -ll -c pyproject.toml api shared worker infra

audit: ## look for known faults in what infra/constraints.txt pins; what cannot be looked up fails too
	@$(PY) -m venv $(FRESH)
	@$(FRESH)/bin/pip install -q pip-audit
	@$(FRESH)/bin/pip-audit --strict --no-deps --disable-pip -r infra/constraints.txt; status=$$?; rm -rf $(FRESH); exit $$status

bench: $(INSTALLED) ## what was asked and what was measured, a quarter of an hour; ARGS="--only door" chooses
	@$(BIN)/python -m infra.bench $(ARGS)

bench-gpu: $(INSTALLED) ## measure what this CUDA card does with SD 1.5, SDXL and Flux, true sizes; ARGS="--only curve"
	@$(BIN)/python -m infra.bench.gpu $(ARGS)

soak: $(INSTALLED) ## many jobs of every kind through the whole service, does anything grow; JOBS=20000
	@$(BIN)/python -m infra.soak $(ARGS)

drill: $(INSTALLED) ## kill a worker and a courier of a running `make up`, count what is missed; DATA=.data
	@$(BIN)/python -m infra.drill $(ARGS)

sweep: $(INSTALLED) ## remove the objects that no job needs, as couriers do now and then; ARGS=--dry-run
	@$(BIN)/python -m infra.sweep $(ARGS)

format: $(INSTALLED) ## put the code into the one format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

constraints: ## resolve pyproject.toml afresh into infra/constraints.txt; torch stays at its line there
	@$(PY) -m venv $(FRESH)
	@$(FRESH)/bin/pip install -q pip-tools
	@grep '^torch==' infra/constraints.txt > $(FRESH)/torch.txt
	@$(FRESH)/bin/pip-compile -q --upgrade --extra api --extra gpu --extra dev --constraint $(FRESH)/torch.txt \
	  --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-options --no-emit-index-url \
	  --no-emit-find-links --output-file $(FRESH)/resolved.txt pyproject.toml
	@{ sed -n '/^#/p' infra/constraints.txt; \
	  sed -E '/^(#|$$|nvidia-|cuda-|triton=)/d; s/\+[a-z0-9.]+$$//' $(FRESH)/resolved.txt | LC_ALL=C sort; \
	  } > $(FRESH)/new.txt
	@mv $(FRESH)/new.txt infra/constraints.txt
	@rm -rf $(FRESH)

$(INSTALLED): pyproject.toml infra/constraints.txt
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: Python 3.11 or later is needed, $(PY) is $$($(PY) --version 2>/dev/null || echo missing); try: make PY=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PY) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "error: $(PY) lacks the venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Setting up $(VENV): torch and its companions are large, this takes some minutes the first time."
	@$(PY) -m venv $(VENV)
	@set -o pipefail; $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
	  -c infra/constraints.txt $(PIP_FLAGS) -e ".[api,gpu,dev]" | $(PROGRESS)
	@touch $@
