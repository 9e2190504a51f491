# Thin on purpose: scripts/bootstrap.py makes the environment, pyproject.toml holds every tool's settings.

PYTHON ?= python3
BOOTSTRAP = $(PYTHON) scripts/bootstrap.py
# Most tests wait for servers and browsers, so their files run side by side; a file's own tests share what it started.
# How many follows the cores and the memory; BEACON_TEST_PROCESSES sets how many of them start servers and browsers.
SIDE_BY_SIDE = -n auto --dist loadfile --no-loadscope-reorder
# SEED=7 (or random) runs the tests in another order.
IN_ORDER = $(if $(SEED),--randomly-seed=$(subst random,default,$(SEED)))
PYTEST = .venv/bin/python -m pytest -p scripts.pytest_order
# One lock for every Python and platform, and no registry's address in it.
UV_OPTIONS = --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
	--override requirements/override.txt

ON_POSTGRES = $(addprefix tests/,eventlog audit accounts commands reconciliation rollout notifications)

.DEFAULT_GOAL := help
.PHONY: help run test test-long test-postgres check bench lock release screenshots
MAKEFLAGS += --no-print-directory
# Without bytecode every server that a test starts would compile all of Beacon again.
unexport PYTHONDONTWRITEBYTECODE

help: ## list these
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

run: ## a live dashboard with a demo job service, on PORT (8000); Ctrl-C stops it
	@$(BOOTSTRAP) run
	@exec .venv/bin/beacon demo

test: ## everything: check, then the tests from fast to slow
	@$(BOOTSTRAP) test
	@$(MAKE) check
	@.venv/bin/node --test 'tests/js/**/*.test.js'
	@$(PYTEST) $(IN_ORDER) $(SIDE_BY_SIDE)

test-long: ## endurance, large fuzzing, large data: what does not fit into ten minutes
	@$(BOOTSTRAP) test
	@$(PYTEST) -m long

test-postgres: ## the tests of the database on PostgreSQL instead of SQLite
	@$(BOOTSTRAP) test
	@BEACON_TEST_DATABASE=postgresql $(PYTEST) $(IN_ORDER) $(SIDE_BY_SIDE) $(ON_POSTGRES)

check: ## format, lint and types, for Python and JavaScript
	@$(BOOTSTRAP) check
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/node node_modules/eslint/bin/eslint.js .
	@.venv/bin/node node_modules/typescript/bin/tsc

bench: ## the benchmarks beside peers, as a table (docs/benchmarks.md); FIGURES="fan-out page" for some of them
	@$(BOOTSTRAP) bench
	@.venv/bin/python -m bench $(FIGURES)

screenshots: ## take the pictures in docs/ from a real Beacon in a real Chromium
	@$(BOOTSTRAP) test
	@.venv/bin/python -m scripts.screenshots

release: ## wheel, source archive, parts list (SBOM) and checksums, in dist/
	@$(BOOTSTRAP) release
	@.venv/bin/python -m scripts.release

lock: ## bring the lock files up to date with requirements/*.in and package.json
	@$(BOOTSTRAP) check
	@$(PYTHON) -m venv .cache/uv && .cache/uv/bin/pip install --quiet --disable-pip-version-check uv==0.13.8
	@for name in runtime dev bench; do .cache/uv/bin/uv pip compile $(UV_OPTIONS) requirements/$$name.in -o requirements/$$name.lock; done
	@for folder in . requirements/unleash; do (PATH="$$PWD/.venv/bin:$$PATH"; cd $$folder && \
		npm install --package-lock-only --ignore-scripts --no-audit --no-fund); done
