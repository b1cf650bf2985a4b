# SmartSpec. `make` lists what there is to do.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench
BENCHES := append relay consume handled ledger saga waiting in_flight storage main_job telemetry key_check ledger_size
SERVICES := gateway keys credits generation storage simulator
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

.DEFAULT_GOAL := help
.PHONY: help up check test campaign bench schemas lock format clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

up: $(VENV)/installed ## Start everything on this machine (PORT, SMARTSPEC_HOME); Ctrl-C ends it
	@exec $(BIN)/python -m services --parent $$PPID

check: $(VENV)/installed ## Lint, types, import rules, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	PYTHONPATH=. $(BIN)/lint-imports
	$(BIN)/python -m contracts.generate --check

test: $(VENV)/installed ## All suites; real servers that are found are tested as well
	$(BIN)/pytest -n 3 --dist worksteal

campaign: $(VENV)/installed ## Break everything for ten minutes, then prove that nothing was lost
	$(BIN)/python -m tests.campaign

bench: $(BENCH_VENV)/installed ## Measure everything beside its peers, on a quiet machine; 15 minutes
	for name in $(BENCHES); do $(BIN)/python -m bench.$$name || exit 1; done
	$(BIN)/python -m bench.table

schemas: $(VENV)/installed ## Write contracts/schemas from the code
	$(BIN)/python -m contracts.generate

lock: $(VENV)/installed ## Compile locks/ from every pyproject.toml
	echo "uv" | $(UV_COMPILE) -o locks/uv.txt -
	$(UV_COMPILE) -o locks/development.txt --group pyproject.toml:development \
		pyproject.toml contracts/pyproject.toml kernel/pyproject.toml $(SERVICES:%=services/%/pyproject.toml)
	$(UV_COMPILE) -o locks/bench.txt -c locks/development.txt --group pyproject.toml:bench
	for service in $(SERVICES); do \
		$(UV_COMPILE) -o locks/$$service.txt -c locks/development.txt \
			contracts/pyproject.toml kernel/pyproject.toml services/$$service/pyproject.toml; \
	done

format: $(VENV)/installed ## Format and mend what can be mended
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

clean: ## Remove what was installed and cached; data in .smartspec stays
	rm -rf $(VENV) $(BENCH_VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/installed: locks/uv.txt locks/development.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "SmartSpec needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r locks/uv.txt
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --quiet --require-hashes locks/development.txt
	@touch $@

$(BENCH_VENV)/installed: $(VENV)/installed locks/bench.txt
	$(PYTHON) -m venv --without-pip $(BENCH_VENV)
	VIRTUAL_ENV=$(BENCH_VENV) $(BIN)/uv pip sync --quiet --require-hashes locks/development.txt locks/bench.txt
	@touch $@
