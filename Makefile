# `make` lists what there is. Everything that is fetched or built lies under $(QWENKIT_CACHE), keyed by its pins.
SHELL := /bin/bash
export QWENKIT_CACHE ?= $(HOME)/.cache/qwenkit

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# The lanes with a cluster or a booted host need root; without it they go through sudo, with the same cache.
ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=QWENKIT_CACHE,MODEL,PATH)
# Debian packages of each, installed before two lanes can ask for them at once.
LANES := engine cluster host browser prometheus
ENGINES := engine or cluster
FAST := not engine and not cluster and not host and not pulumi and not fuzz and not browser

.PHONY: help demo test check tools format lock clean

help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/ready ## the main job: plan, pulumi up, a real cluster, a chat, predicted against measured
	$(ROOT) $(RUN) -m demo

test: $(VENV)/ready ## every test, also those with a real engine, cluster, host and Pulumi (root)
	$(ROOT) $(RUN) -m tools.get --all $(LANES:%=--lane %) >/dev/null
	$(MAKE) --no-print-directory lint
	$(ROOT) $(RUN) -m pytest tests/demo  # alone: it looks for what is left on the whole machine
	$(MAKE) --no-print-directory -j 2 engines others

# Side by side, a test a line. What starts engines beside the engines' lane comes late in the other one: clients of
# test_leaving ask as long as an upgrade takes, so beside another engine it would take three times as long.
LATE := tests/ansible tests/helm/test_guard_and_engine.py
.PHONY: engines others
engines:
	$(ROOT) $(RUN) -m pytest -v -m "$(ENGINES)" --ignore tests/demo $(LATE:%=--ignore %)
others:
	$(ROOT) $(RUN) -m pytest -v -m "not ($(ENGINES))" --ignore tests/demo $(LATE:%=--ignore %)
	$(ROOT) $(RUN) -m pytest -v $(LATE)

check: lint ## format, lint, types and the fast tests: seconds, no root
	$(RUN) -m pytest -q -m "$(FAST)"

.PHONY: lint
lint: $(VENV)/ready
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

format: $(VENV)/ready ## put the code into its format
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

tools: $(VENV)/ready ## fetch and build every pinned tool into the cache
	$(ROOT) $(RUN) -m tools.get --all

lock: $(VENV)/ready ## resolve requirements.in into requirements.lock, with hashes
	$(RUN) -m pip install -q pip-tools
	$(RUN) -m piptools compile -q --generate-hashes --no-header --allow-unsafe --strip-extras \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links -o requirements.lock requirements.in

clean: ## remove what was made in this folder (not the cache; that is $(QWENKIT_CACHE))
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Name another with PYTHON=." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "installing python3-venv"; $(ROOT) apt-get update -q && $(ROOT) apt-get install -qy --no-install-recommends python3-venv; }
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(RUN) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
