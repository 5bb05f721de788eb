# make demo    a first run on the example photographs, from nothing
# make test    lint, types and every test, from nothing
# make help    the rest

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONSTRAINTS := constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test lint types tests bundled-model clean

help:
	@sed -n 's/^# make /make /p' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# The engine itself: what a user has.
$(VENV)/.engine: setup.cfg pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable .
	@touch $@

# The engine with what its tests need.
$(VENV)/.tests: setup.cfg pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[test,train]'
	@touch $@ $(VENV)/.engine

demo: $(VENV)/.engine
	$(BIN)/sa-engine auto --images examples/images --out out/demo
	$(BIN)/sa-engine show out/demo --out out/demo-pictures
	@echo "Look at out/demo-pictures/index.html in a browser."

test: lint types tests

lint: $(VENV)/.tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tests
	$(BIN)/mypy

tests: $(VENV)/.tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

# make bundled-model  the recipe of the bundled weights, from research data to the file (hours)
DATA ?= ../shared/data
KIND ?= cpu
bundled-model: $(VENV)/.tests
	ENGINE=$(BIN)/sa-engine benchmarks/bundled_model.sh $(KIND) $(DATA)

# make clean   remove what the targets above made
clean:
	rm -rf $(VENV) out build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
