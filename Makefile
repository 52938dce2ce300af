# Everything a developer or CI does with this repository. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# The tests and `up` start our programs many times; compiling all they import each time takes longer than what they do.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/portolan
UV_VERSION := 0.13.9
# Processes that run the tests side by side, and what else pytest is told: make test ARGS="tests/clients -k podman"
JOBS ?= 3
ARGS ?=
# The registry refuses to start with a PORTOLAN_ variable that it does not know, and this one is for the tests alone.
REQUIRE_TOOLS := $(PORTOLAN_REQUIRE_TOOLS)
unexport PORTOLAN_REQUIRE_TOOLS

# Rows of the benchmarks (all when empty), and what else they are told: make bench ONLY=blob-64k BENCH="--short"
ONLY ?=
BENCH ?=

.PHONY: help run test test-quick test-full check format settings tools bench soak clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

run: .venv/.synced ## Start the whole registry on this machine (Postgres and Valkey included)
	.venv/bin/portolan up

test: .venv/.synced ## Run all tests (ARGS="..." for pytest; PORTOLAN_REQUIRE_TOOLS=1: a missing client is an error)
	@if [[ "$(REQUIRE_TOOLS)" == 1 ]]; then tests/tools/build.sh >/dev/null; fi
	PORTOLAN_REQUIRE_TOOLS=$(REQUIRE_TOOLS) .venv/bin/pytest -n $(JOBS) --dist worksteal --durations 10 $(ARGS)

test-quick: .venv/.synced ## Run what needs no server of its own: operations, views, parsers
	.venv/bin/pytest -n $(JOBS) -m "not server and not slow" $(addprefix tests/,api frontend http projects rbac registry_core storage) $(ARGS)

# The checks load Django's settings but need no server: nothing listens on port 1, and the secrets that the settings
# make for themselves do not belong in the developer's data/.
NO_SERVER := error connecting in 'pool-|Is the server running on that host|reconnection attempt in pool
test-full: ## Run all tests with the long ones whole: kills, races, large layers, every client by every door (hours)
	PORTOLAN_TEST_FULL=1 $(MAKE) test

check: export PORTOLAN_DATA := $(CACHE)/check
check: export PORTOLAN_DATABASE_URL := postgresql://nobody@127.0.0.1:1/none
check: .venv/.synced ## Format, lint, types, import directions, Django's checks, missing migrations, the API schema
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy .
	.venv/bin/lint-imports
	.venv/bin/python manage.py check --deploy --fail-level WARNING
	.venv/bin/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run 2> >(grep -vE "$(NO_SERVER)" >&2)
	.venv/bin/python manage.py spectacular --validate --fail-on-warn --file /dev/null

format: .venv/.synced ## Format the code and apply the lint fixes that are safe
	.venv/bin/ruff format
	.venv/bin/ruff check --fix

settings: .venv/.synced ## Write docs/settings.md, deploy/portolan.yml and docs/events.md from the code
	.venv/bin/python -m registry_core.wiring.settings_reference
	DJANGO_SETTINGS_MODULE=registry_core.wiring.settings .venv/bin/python -m registry_core.wiring.event_reference

tools: ## Build the client programs that the tests use, into ~/.cache/portolan/tools (needs Go)
	tests/tools/build.sh

bench: .venv/.synced ## Compare with other registries, write docs/benchmarks.md (ONLY=row1,row2; BENCH=--short: as CI)
	.venv/bin/python -m tests.benchmarks --only "$(ONLY)" $(BENCH)

soak: .venv/.synced ## Half an hour of mixed load; memory and open files must stay flat (SOAK="--minutes 2" for less)
	.venv/bin/python -m tests.soak $(SOAK)

clean: ## Remove .venv and the caches of the checkers (data/ stays)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the Python environment ------------------------------------------------------------------------------------------
# uv makes .venv from uv.lock. A machine without uv gets it by pip, in a folder of its own outside the clone:
# `uv sync` removes from .venv what the lock does not name, so uv cannot live there. Bytecode is compiled here once: where
# PYTHONDONTWRITEBYTECODE is set every process would compile all it imports, which takes seconds and 30 MiB each.

UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo $(CACHE)/uv-$(UV_VERSION)/bin/uv)

.venv/.synced: pyproject.toml uv.lock | $(UV)
	$(UV) sync --locked --compile-bytecode
	@touch $@

$(CACHE)/uv-$(UV_VERSION)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Portolan needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	    echo "Python's venv module is not complete here. On Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(CACHE)/uv-$(UV_VERSION)
	$(CACHE)/uv-$(UV_VERSION)/bin/pip install --quiet uv==$(UV_VERSION)
