# Each target builds .venv from nothing when it is needed, and is quick when it is there.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# one thread a process: the tests run two processes, and small matrices are faster so
TESTS  := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help demo test slow soak browser lint format bench bench-engines docs clean

help:
	@echo "make demo    train on real data by hand next to autograd, and print the verdict"
	@echo "make test    the tests"
	@echo "make slow    the tests that take minutes"
	@echo "make soak    what a run survives, in full (an hour), and the table in docs/reliability.md"
	@echo "make browser the tests that need Debian's chromium"
	@echo "make lint    ruff and mypy"
	@echo "make bench   what checking costs"
	@echo "make bench-engines  every engine beside torch, scikit-learn and JAX; about 25 minutes"
	@echo "make docs    the documentation, in docs/_build/html"
	@echo "make clean   remove .venv and what the tools left"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "manualbp needs Python 3.11 or newer; say make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/manualbp train --data breast-cancer --name demo --overwrite

test: $(READY)
	$(TESTS) -n 2 --dist loadgroup || $(TESTS) --last-failed

# tests with limits of time can fail on a busy machine: what failed is run once more
slow: $(READY)
	$(TESTS) -m slow -n 2 --dist loadgroup || $(TESTS) -m slow --last-failed

# kills, full disks, damage, attacks: each row of docs/reliability.md as often as it asks for
soak: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.reliability --full --table

browser: $(READY)
	$(TESTS) -m browser

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python -m benchmarks.cost_of_checking

docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# points that were measured before are kept; ENGINES=--fresh measures all again
bench-engines: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.engines $(ENGINES)
	$(BIN)/python -m benchmarks.engine_memory

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
