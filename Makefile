# Everything is installed on first use into .venv, with the versions of constraints.txt.
# A newcomer needs Python >= 3.10 and make: `make demo`, `make test`.
.DEFAULT_GOAL := help
.PHONY: help setup setup-2.11 demo chaos e2e bench test test-2.11 coverage lint format lock clean

PYTHON ?= python3
# least coverage of the package in percent, and more arguments for pytest: `make test PYTEST="-k window -x" BAR=0`
BAR ?= 98
PYTEST ?= -n 2
# seed of `make chaos`, and how many kills in all
SEED ?= 2026
KILLS ?= 108

# $(call suite,SERIES,VENV): run the tests and write one coverage file, .coverage-SERIES, also when some have failed
define suite
	COVERAGE_FILE=.coverage-$(1) $(2)/bin/coverage erase
	COVERAGE_FILE=.coverage-$(1) $(2)/bin/coverage run -m pytest $(PYTEST); outcome=$$?; \
	COVERAGE_FILE=.coverage-$(1) $(2)/bin/coverage combine --quiet && exit $$outcome
endef

help: ## show this list
	@sed -n 's/^\([a-z0-9.-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | awk -F'	' '{ printf "make %-12s %s\n", $$1, $$2 }'

setup: ## create .venv with the pinned versions (every other command does it too)
	@$(PYTHON) scripts/bootstrap.py

setup-2.11:
	@$(PYTHON) scripts/bootstrap.py --airflow 2.11

demo: setup ## back-fill three hours on a real Airflow against the local service
	@.venv/bin/python -m scripts.demo

chaos: setup ## kill replays more than a hundred times, and write what came of it to docs/chaos.md (10 minutes)
	.venv/bin/python -m scripts.chaos --seed $(SEED) --kills $(KILLS) --output docs/chaos.md

e2e: setup ## do to tasks under a real scheduler what people do, and count what was sent and asked (4 minutes)
	.venv/bin/python -m pytest tests/test_real_scheduler.py tests/test_real_waiting.py -v

bench: setup ## compare with a bare aiohttp pool, HttpOperator, the vendor's SDK (20 minutes; QUICK=1: 4 minutes, no page)
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints-bench.txt
	.venv/bin/python -m benchmarks $(if $(QUICK),--quick,--pages docs)

test: setup ## run the whole suite on Airflow 3.3, with coverage
	$(call suite,3.3,.venv)
	COVERAGE_FILE=.coverage-3.3 .venv/bin/coverage report --fail-under=$(BAR)

test-2.11: setup-2.11 ## run the whole suite on Airflow 2.11 (Python 3.10 to 3.12)
	$(call suite,2.11,.venv-2.11)

coverage: setup ## report the coverage of the last `make test` and `make test-2.11` together
	.venv/bin/coverage combine --keep --quiet .coverage-3.3 .coverage-2.11
	.venv/bin/coverage report --fail-under=$(BAR)

lint: setup ## check style, types and layers
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

format: setup ## let ruff rewrite what it can
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

lock: setup ## renew the pins of both Airflow series
	.venv/bin/python scripts/lock.py

clean: ## remove everything that the other commands made
	rm -rf .venv .venv-2.11 .data .nox .coverage* .mypy_cache .ruff_cache .hypothesis dist
