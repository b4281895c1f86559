# Everything a person does with the checkout. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTHON ?= python3

.PHONY: help setup demo test test-long lint format lock docs ui reset

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with the locked packages (hash-checked).

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 to 3.13 is needed; set PYTHON=python3.x") if not (3, 11) <= sys.version_info[:2] <= (3, 13) else None'
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@awk '/^uv==/ { found = 1 } found { print } found && !/\\$$/ { exit }' requirements.lock > $(VENV)/uv.txt
	@echo "fetching the installer uv"
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes --requirement $(VENV)/uv.txt
	@echo "fetching and compiling the locked packages; the first time takes some minutes"
	@$(BIN)/uv pip sync --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@echo "installing weather_platform itself"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q weather_platform
	@touch $(READY)

demo: $(READY) ## Run the whole graph on synthetic weather: a Production model and tomorrow's forecasts.
	$(BIN)/weather demo

TEST := $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

test: $(READY) ## Run the tests, but for the long ones.
	$(TEST) -m "not long"

test-long: $(READY) ## Run the long tests: whole runs of the product, killed, repeated, on real data, as the README says.
	$(TEST) -m long

lint: $(READY) ## Check style, imports and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(READY) ## Format the code and mend what ruff can mend.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY) ## Write requirements.lock anew from pyproject.toml.
	$(BIN)/uv pip compile pyproject.toml --quiet --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --output-file requirements.lock
	$(BIN)/python -m weather_platform_tests.lock_digest

docs: $(READY) ## Write the reference tables anew from the code.
	$(BIN)/python docs/generate.py

ui: $(READY) ## Open the Dagster UI (127.0.0.1:3000) and the MLflow UI (127.0.0.1:5000).
	$(BIN)/weather ui

reset: ## Delete all state of the embedded profile.
	rm -rf -- "$${WEATHER_HOME:-.weather}"
