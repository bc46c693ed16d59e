# make demo, make test: on a fresh machine with Python 3.11 to 3.13 and make, these set up what is missing and go.
# A second time there is nothing to set up. `make PYTHON=/path/to/python3.12 ...` names the Python to use.
VENV := .venv
BIN := $(VENV)/bin

# The first of these that the project runs on; a PYTHON given by hand is not second-guessed.
CANDIDATES := python3 python3.13 python3.12 python3.11
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(firstword $(foreach p,$(CANDIDATES),$(shell $(p) -c '$(SUITABLE)' 2>/dev/null && echo $(p))))

.PHONY: setup demo test check rules bench bench-quick bench-check clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
	  echo "No Python 3.11, 3.12 or 3.13 found (tried: $(CANDIDATES)). Install one, or say where it is: make PYTHON=/path/to/python3.12" >&2; exit 1; fi
	@$(PYTHON) -c '$(SUITABLE)' || { \
	  echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13. Install one, or say where it is: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments (no ensurepip). On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON) (once; a few hundred MB of packages)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

test: setup
	$(BIN)/python -m pytest --numprocesses 2

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The alerts' own tests and the dashboard's expressions, by promtool.
rules: setup
	cd deploy/prometheus && ./promtool check config prometheus.yml && ./promtool test rules alerts_test.yml
	$(BIN)/python deploy/grafana/expressions.py | deploy/prometheus/promtool check rules /dev/stdin

demo: setup
	$(BIN)/runner demo

# All of it: some forty minutes, and the making of its logs, which need 60 GB of disk. Parts: make bench ONLY="core ten".
# Writes bench/results/latest.json and, where no part is missing, README's table and chart. bench-quick writes neither.
bench: $(VENV)/.bench
	$(BIN)/python bench/suite.py $(addprefix --only ,$(ONLY))

bench-quick: $(VENV)/.bench
	$(BIN)/python bench/suite.py --quick $(addprefix --only ,$(ONLY))

$(VENV)/.bench: $(VENV)/.ready
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@touch $@

# Exits with 1 where a limit of bench/limits.py is missed; on a busy machine: make bench-check SLACK=0.2
SLACK ?= 0
bench-check: setup
	@missed=0; for bench in replay small postgres follow; do \
	  $(BIN)/python bench/$$bench.py --check --slack $(SLACK) || missed=1; done; exit $$missed

clean:
	rm -rf demo bench/out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
