# make demo    a first run on the example photographs, from nothing
# make test    lint, types and every test, from nothing
# make coverage  which lines the tests reach: a table, and htmlcov/index.html
# make docs    docs/cli.md and docs/python.md again, from the commands' help and the docstrings
# make release   wheel and source archive of the last commit, checked; URL=https://… for README's links
# make help    the rest

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONSTRAINTS := constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test lint types tests coverage docs release bundled-model clean
.PHONY: annotate loop stage1 retrain stage2 retrain-detector stage3

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

coverage: $(VENV)/.tests
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) pytest-cov
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --cov --cov-report=term --cov-report=html

docs: $(VENV)/.engine
	$(BIN)/python docs/command_reference.py
	$(BIN)/python docs/python_reference.py

release: $(VENV)/.engine
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) build twine
	rm -rf dist build
	mkdir -p build
	git archive --prefix=source/ HEAD | tar -x -C build
	$(BIN)/python docs/package_readme.py $(URL) > build/source/README.md
	$(BIN)/python -m build --outdir dist build/source
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv build/try
	build/try/bin/python -m pip install --quiet --constraint $(CONSTRAINTS) dist/*.whl
	cd build && try/bin/sa-engine auto --images ../examples/images --points-per-side 4 --out demo
	@echo "dist/ holds what can be uploaded."

# make bundled-model DATA=folder/ KIND=gpu  the recipe of the bundled weights, from research data to the file
KIND ?= cpu
bundled-model: $(VENV)/.tests
	ENGINE=$(BIN)/sa-engine PYTHON=$(BIN)/python benchmarks/bundled_model.sh $(KIND) $(or $(DATA),$(error give DATA=folder with train/ and dev/))

# make loop    all three stages and their retrainings on a small set; MASKS=dataset/ for one of yours
LOOP ?= examples/loop/loop.toml
DATA_OUT ?= out/loop-data
loop: OUT ?= out/loop
loop: $(VENV)/.engine
	$(BIN)/python examples/loop/prepare.py --out $(DATA_OUT) $(if $(MASKS),--masks $(MASKS))
	$(BIN)/sa-engine loop $(LOOP) --set data=$(DATA_OUT) --out $(OUT)
	@echo "Look at $(OUT)/index.html in a browser."

# make annotate  label the images in IMAGES in a browser; IMAGES=folder/ for yours
annotate: OUT ?= out/annotated
annotate: $(VENV)/.engine
	$(BIN)/sa-engine annotate --images $(IMAGES) --out $(OUT)

# Stage by stage, for the images in IMAGES, with everything in OUT. ROUND counts the retrainings.
IMAGES ?= examples/images
ROUND ?= 1
TOOL ?= label-studio
STEPS ?= 100
stage1 retrain stage2 retrain-detector stage3: OUT ?= out/own
BEFORE = $(shell expr $(ROUND) - 1)
# Round 1 trains on from the bundled model, as the recipe does by itself.
INIT = $(if $(filter-out 1,$(ROUND)),--init $(OUT)/model-$(BEFORE).safetensors)
SETS = $(wildcard $(OUT)/stage1 $(OUT)/stage2 $(OUT)/stage3)

# make stage1 MASKS=annotations  people's masks become a dataset, OUT/stage1
stage1: $(VENV)/.engine
	$(BIN)/sa-engine import $(or $(MASKS),$(error give MASKS=annotations)) --images $(IMAGES) --out $(OUT)/stage1

# make retrain  the model learns from every stage in OUT: OUT/model-ROUND.safetensors
retrain: $(VENV)/.engine
	$(BIN)/sa-engine train sam $(addprefix --data ,$(or $(SETS),$(error nothing in OUT=$(OUT) to train on: make stage1 first))) \
	    --weight manual=10 --weight semi-automatic=10 --recipe finetune \
	    --steps $(STEPS) $(INIT) --out $(OUT)/model-$(ROUND).safetensors

# make retrain-detector  the detector for that model: OUT/detector-ROUND.safetensors
retrain-detector: $(VENV)/.engine
	$(BIN)/sa-engine train detector $(addprefix --data ,$(or $(SETS),$(error nothing in OUT=$(OUT) to train on: make stage1 first))) \
	    --checkpoint $(OUT)/model-$(ROUND).safetensors --out $(OUT)/detector-$(ROUND).safetensors

# make stage2  proposals for TOOL in OUT/to-correct; with CORRECTED=file they become OUT/stage2
stage2: $(VENV)/.engine
ifdef CORRECTED
	$(BIN)/sa-engine import $(CORRECTED) --images $(OUT)/to-correct/images --proposals $(OUT)/proposals --out $(OUT)/stage2
else
	$(BIN)/sa-engine semi --images $(IMAGES) --checkpoint $(OUT)/model-$(ROUND).safetensors \
	    --detector $(OUT)/detector-$(ROUND).safetensors --out $(OUT)/proposals
	$(BIN)/sa-engine export $(OUT)/proposals --format $(TOOL) --out $(OUT)/to-correct
	@echo "Correct $(OUT)/to-correct in $(TOOL), then: make stage2 CORRECTED=<what comes out>"
endif

# make stage3  masks without people for IMAGES: OUT/stage3
stage3: $(VENV)/.engine
	$(BIN)/sa-engine auto --images $(IMAGES) --checkpoint $(OUT)/model-$(ROUND).safetensors --out $(OUT)/stage3

# make clean   remove what the targets above made
clean:
	rm -rf $(VENV) out build dist htmlcov .coverage *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
