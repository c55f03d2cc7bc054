# Each command installs what it needs into .venv on first use, with the versions of constraints.txt.
# You need Python >= 3.10 and make: `make demo`, `make test`.
.DEFAULT_GOAL := help
.PHONY: help setup setup-2.11 demo chaos simulate e2e bench test test-2.11 coverage lint format lock sdist clean

PYTHON ?= python3
# the least coverage in percent, and arguments for pytest: `make test PYTEST="-k window -x" BAR=0`
BAR ?= 98
PYTEST ?= -n 2
# the seed of `make chaos`, and the number of kills in all
SEED ?= 2026
KILLS ?= 108
# the number of schedules of `make simulate`, and the first seed; both are in the page that it writes
SEEDS ?= 100000
FROM ?= 0

# $(call suite,SERIES,VENV): run the tests and write one coverage file, .coverage-SERIES, even if some fail
define suite
	COVERAGE_FILE=.coverage-$(1) $(2)/bin/coverage erase
	COVERAGE_FILE=.coverage-$(1) $(2)/bin/coverage run -m pytest -m "not airflow" $(PYTEST); outcome=$$?; \
	COVERAGE_FILE=.coverage-$(1) $(2)/bin/coverage combine --quiet && exit $$outcome
endef

help: ## list the commands
	@sed -n 's/^\([a-z0-9.-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | awk -F'	' '{ printf "make %-12s %s\n", $$1, $$2 }'

setup: ## create .venv with the pinned versions (every other command does this, too)
	@$(PYTHON) scripts/bootstrap.py

setup-2.11:
	@$(PYTHON) scripts/bootstrap.py --airflow 2.11

demo: setup ## backfill three hours on a real Airflow against the local service
	@.venv/bin/python -m scripts.demo

chaos: setup ## kill replays more than a hundred times and write the result to docs/chaos.md (10 minutes)
	.venv/bin/python -m scripts.chaos --seed $(SEED) --kills $(KILLS) --output docs/chaos.md

simulate: setup ## try replays in simulated trouble, and write the result to docs/simulation.md (SEEDS=1000: 1 minute)
	.venv/bin/python -m simulation --seeds $(SEEDS) --from $(FROM) --output docs/simulation.md

e2e: setup ## run the tests that `make test` leaves out, each with a whole Airflow: users' actions, kills, waits (6 minutes)
	.venv/bin/python -m pytest -m airflow -o faulthandler_timeout=890 -v

bench: setup ## compare with a bare aiohttp pool, HttpOperator and the vendor's SDK (20 minutes; QUICK=1: 4 minutes, writes nothing)
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints-bench.txt
	.venv/bin/python -m benchmarks $(if $(QUICK),--quick,--pages docs)

test: setup ## run the suite on Airflow 3.3, with coverage; `make e2e` has the tests with a whole Airflow
	$(call suite,3.3,.venv)
	COVERAGE_FILE=.coverage-3.3 .venv/bin/coverage report --fail-under=$(BAR)

test-2.11: setup-2.11 ## run the suite on Airflow 2.11 (Python 3.10 to 3.12)
	$(call suite,2.11,.venv-2.11)

coverage: setup ## report the combined coverage of the last `make test` and `make test-2.11`
	.venv/bin/coverage combine --keep --quiet .coverage-3.3 .coverage-2.11
	.venv/bin/coverage report --fail-under=$(BAR)

lint: setup ## check style, types and layers
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

format: setup ## format the code, and let ruff fix what it can
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

lock: setup ## update the pins of both Airflow series
	.venv/bin/python scripts/lock.py

sdist: setup ## build the source distribution into dist
	rm -rf dist
	.venv/bin/hatchling build --target sdist

clean: ## remove everything that the other commands made
	rm -rf .venv .venv-2.11 .data .nox .coverage* .mypy_cache .ruff_cache .hypothesis dist
