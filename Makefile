# make demo        the whole road on this machine; DEMO_ARGS="--quick" passes options on
# make test        lint, types, import contracts, tests
# make test-slow   the tests that take long
# make setup-web   onnxruntime-web, for `subdit profile KIT --serve`
# make setup-emoji packages of emoji, for `subdit data emoji`

SHELL := bash
.DELETE_ON_ERROR:
.PHONY: demo test test-slow lint setup-web setup-emoji clean

# The first of these that is Python 3.11, the version that constraints.txt is made for.
PYTHON ?= $(shell for python in python3.11 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
REQUIREMENTS := setup.cfg pyproject.toml constraints.txt
DEMO_ARGS ?=
PYTEST_ARGS ?=
WORKERS ?= 2
# Each worker has one half of the tests, in their order, so that what a module makes once is made once; who is done first
# takes tests from the other. How many threads a worker has is in tests/conftest.py.
PYTEST = $(BIN)/pytest -q --numprocesses $(WORKERS) --dist worksteal --durations 15

demo: .venv/installed-demo
	$(BIN)/subdit demo $(DEMO_ARGS)

test: lint
	$(PYTEST) -m 'not slow' $(PYTEST_ARGS)

test-slow: .venv/installed-dev
	$(PYTEST) -m slow $(PYTEST_ARGS)

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config pyproject.toml

setup-web: .venv/installed-serve
	$(BIN)/python -m profilers.browser

setup-emoji: .venv/installed-emoji
	$(BIN)/python -m supernet.data.emoji

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
		echo "subdit needs Python 3.11, and '$(PYTHON)' is not; install it, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv

# "dev" includes "demo". torch first and by its pin: asked for together with packages that accept any torch, a newer one with CUDA may come.
.venv/installed-%: $(REQUIREMENTS) | .venv/bin/python
	@echo "Installing what '$*' needs into .venv (once; some minutes)"
	@$(PIP) torch
	@$(PIP) --editable '.[$*]'
	@touch $@ $(if $(filter dev,$*),.venv/installed-demo .venv/installed-serve .venv/installed-emoji)
