# A new machine needs Python 3.11 or later, make, and a network connection.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help demo test fuzz torture hostile lint bench bench-corpus bench-generate \
	bench-train pretrained wheel-test clean

help:
	@echo "make demo        train on dinosaur names for half a minute and generate new ones"
	@echo "make test        run the tests"
	@echo "make fuzz        search for inputs that break a promise, with random examples (half"
	@echo "                 an hour; FUZZ_EXAMPLES=200 make fuzz takes a few minutes)"
	@echo "make torture     kill and resume 50 trainings, and compare their results (20 minutes)"
	@echo "make hostile     load 62,000 damaged and hostile model files (half an hour)"
	@echo "make lint        check format, style and types"
	@echo "make bench       measure the speed of training and of generation; one of them with"
	@echo "                 make bench-train, make bench-generate or make bench-corpus"
	@echo "make pretrained  train the pretrained models again and write their cards (two hours)"
	@echo "make wheel-test  build the wheel, install only the wheel, train and generate with it"
	@echo "make clean       remove the virtual environment and the build files"

demo: $(VENV)/installed
	rm -rf dinosaurs.checkpoints
	$(BIN)/python recipes/dinosaurs.py

# A test file runs in one process; the order of conftest.py starts the slow files first.
test: $(VENV)/installed-test
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 \
		--dist loadfile --no-loadscope-reorder

# The tests that search: they are not a part of `make test`, or only in a short form.
fuzz: $(VENV)/installed-test
	HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest tests/fuzz --numprocesses auto \
		--maxprocesses 4 --dist loadfile

torture: $(VENV)/installed
	$(BIN)/python tests/torture.py

hostile: $(VENV)/installed
	$(BIN)/python tests/hostile_files.py --all
	$(BIN)/python tests/hostile_legacy.py --all

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: bench-train bench-generate bench-corpus

bench-corpus: $(VENV)/installed
	$(BIN)/python benchmarks/corpus.py

bench-generate: $(VENV)/installed-bench
	$(BIN)/python benchmarks/generate.py

bench-train: $(VENV)/installed-bench
	$(BIN)/python benchmarks/train.py

pretrained: $(VENV)/installed
	$(BIN)/python benchmarks/pretrained.py

# In a separate environment, and in an empty folder.
wheel-test:
	PYTHON=$(PYTHON) tests/wheel.sh

clean:
	rm -rf $(VENV) build dist *.egg-info

# Each target adds its extra packages to those of the target before it.
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
