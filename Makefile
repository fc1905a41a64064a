# What a fresh machine needs: Python 3.11 or later, make, and a package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help demo test lint bench bench-generate bench-train pretrained wheel-test clean

help:
	@echo "make demo        train on dinosaur names for half a minute and invent new ones"
	@echo "make test        run the tests"
	@echo "make lint        check format, style and types"
	@echo "make bench       measure the speed of training and of writing; each alone with"
	@echo "                 make bench-train, make bench-generate"
	@echo "make pretrained  train the pretrained models anew, and write their cards (two hours)"
	@echo "make wheel-test  build the wheel, install it alone, train and generate with it"
	@echo "make clean       remove what make made"

demo: $(VENV)/installed
	rm -rf dinosaurs.checkpoints
	$(BIN)/python recipes/dinosaurs.py

# In several processes, a file of tests in one; the long ones come first.
test: $(VENV)/installed-test
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 \
		--dist loadfile --no-loadscope-reorder

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: bench-train bench-generate

bench-generate: $(VENV)/installed-bench
	$(BIN)/python benchmarks/generate.py

bench-train: $(VENV)/installed-bench
	$(BIN)/python benchmarks/train.py

pretrained: $(VENV)/installed
	$(BIN)/python benchmarks/pretrained.py

# In an environment of its own, from a folder that holds nothing else.
wheel-test:
	PYTHON=$(PYTHON) tests/wheel.sh

clean:
	rm -rf $(VENV) build dist *.egg-info

# Each installs what the one before lacks, and nothing twice.
$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/installed-bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

$(VENV)/installed-dev: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
