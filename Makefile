# Everything a person or a pipeline does here. Each target sets up what it needs; a second run finds it done.
.DEFAULT_GOAL := help
SHELL := bash
BIN := .venv/bin
UNIT_WORKERS ?= 2
#: Where whole systems are started.
SYSTEM_TESTS := tests/chaos tests/cli tests/e2e tests/stranger tests/workers
# Set in many containers: every process would compile the whole tree again at each start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install services up demo test lint types style linted-unit format unit e2e mutants bench openapi lock \
	clean distclean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.installed: requirements.lock pyproject.toml scripts/setup.sh scripts/uv.lock.txt
	@scripts/setup.sh python
	@touch $@

install: .venv/.installed ## the locked Python environment in .venv

services: ## mosquitto, unless it is there or MQTT_URL names one
	@scripts/setup.sh broker

up: install services ## start everything here; ARGS="--stations 20 -v" are passed on
	@$(BIN)/voltbay up $(ARGS)

demo: install services ## one rental from sign-up to receipt; JSON=1 ends with a line of JSON
	@$(BIN)/voltbay demo $(if $(JSON),--json) $(ARGS)

lint: install ## ruff, mypy --strict, import-linter
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target --keep-going types style

types: install
	$(BIN)/mypy

style: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: install ## what ruff can mend by itself
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

unit: install services ## tests that need no more than services of their own, in parallel
	nice -n 2 $(BIN)/pytest -n $(UNIT_WORKERS) -m "not e2e and not chaos" $(ARGS)

e2e: install services ## whole systems, and systems whose processes are killed, one after the other
	$(BIN)/pytest -m "e2e or chaos" $(if $(ARGS),$(ARGS),$(SYSTEM_TESTS))

# Whole systems wait more than they work: lint, then the other tests take what they leave of the processors (hence `nice`
# above). Each part is printed when it has ended; the first that fails does not stop what is under way.
test: install services ## lint, then all tests (models against migrations among them)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target --keep-going e2e linted-unit

# Whoever breaks a rule of style need not wait for the tests to hear of it.
linted-unit: install services
	@nice -n 2 $(MAKE) --no-print-directory --keep-going types style
	@$(MAKE) --no-print-directory unit

mutants: install services ## break one rule at a time in a copy; a test must notice each
	@$(BIN)/python -m tests.mutants.run $(ARGS)

bench: install services ## the figures this project claims
	@$(BIN)/python -m benchmarks $(ARGS)

openapi: install ## docs/openapi.json from the code
	@$(BIN)/voltbay openapi

lock: install ## requirements.lock from pyproject.toml
	@scripts/setup.sh lock

clean: ## caches and builds
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .benchmarks dist
	find . -name __pycache__ -not -path './.venv/*' -not -path './.tools/*' -prune -exec rm -rf {} +

distclean: clean ## also the environment and the data in .voltbay
	rm -rf .venv .tools .voltbay
