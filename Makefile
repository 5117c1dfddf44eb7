# `make` lists what there is. Everything that is fetched or built lies under $(QWENKIT_CACHE), keyed by its pins.
SHELL := /bin/bash
export QWENKIT_CACHE ?= $(HOME)/.cache/qwenkit

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# The lanes with a cluster or a booted host need root; without it they go through sudo, with the same cache.
ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=QWENKIT_CACHE,QWENKIT_TERRAFORM_PLUGINS,MODEL,PATH,TMPDIR)
# Debian packages of each, installed before two lanes can ask for them at once.
PACKAGES := engine cluster host browser prometheus

.PHONY: help demo test lane lanes check tools format lock clean

help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/ready ## the main job: plan, pulumi up, a real cluster, a chat, predicted against measured
	$(ROOT) $(RUN) -m lab.demo

test: tools ## every test, also those with a real engine, cluster, host and Pulumi (root)
	$(ROOT) $(RUN) -m tests.suite

lane: tools ## some lanes alone: make lane NAME=helm-leaving, or NAME="demo helm" (root)
	$(ROOT) $(RUN) -m tests.suite $(NAME)

lanes: $(VENV)/ready ## the lanes: how long each takes, what it starts
	@$(RUN) -m tests.suite --list

check: $(VENV)/ready ## format, lint, types and the fast tests: a minute, no root
	$(RUN) -m tests.suite lint fast

format: $(VENV)/ready ## put the code into its format
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

tools: $(VENV)/ready ## fetch and build every pinned tool into the cache, and the Debian packages (root)
	$(ROOT) $(RUN) -m lab.tools.get --all $(PACKAGES:%=--lane %) >/dev/null

lock: $(VENV)/ready ## resolve requirements.in into requirements.lock, with hashes
	$(RUN) -m pip install -q pip-tools
	$(RUN) -m piptools compile -q --generate-hashes --no-header --allow-unsafe --strip-extras \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links -o requirements.lock requirements.in

clean: ## remove what was made in this folder (not the cache; that is $(QWENKIT_CACHE))
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: anew
# Its packages lie in the cache: gone there, they are installed again.
$(VENV)/ready: requirements.lock pyproject.toml lab/tools/environment.py $(if $(wildcard $(VENV)/packages/bin),,anew)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Name another with PYTHON=." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "installing python3-venv"; $(ROOT) apt-get update -q && $(ROOT) apt-get install -qy --no-install-recommends python3-venv; }
	$(PYTHON) -m lab.tools.environment
	@touch $@
