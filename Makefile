# A new machine needs Python 3.11 or later, make, and a network connection.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help demo test test-browser test-jax docs notebooks fuzz torture hostile lint \
	bench bench-corpus bench-generate bench-poet bench-serve bench-train pretrained \
	wheel-test clean

help:
	@echo "make demo        train on dinosaur names for half a minute and generate new ones"
	@echo "make test        run the tests"
	@echo "make test-browser  test the pages in a headless Chromium"
	@echo "make test-jax    run the core of the tests with JAX, also against TensorFlow"
	@echo "make docs        build the documentation in docs/_build/html, and run its code"
	@echo "make notebooks   run the notebooks on small data"
	@echo "make fuzz        search for inputs that break a promise, with random examples (half"
	@echo "                 an hour; FUZZ_EXAMPLES=200 make fuzz takes a few minutes)"
	@echo "make torture     kill and resume 50 trainings, and compare their results (20 minutes)"
	@echo "make hostile     load 62,000 damaged and hostile model files (half an hour)"
	@echo "make lint        check format, style and types"
	@echo "make bench       measure the speed of training and of generation; one of them with"
	@echo "                 make bench-train, make bench-generate or make bench-corpus"
	@echo "make bench-serve  measure textgen serve with 50 clients, and hostile ones (3 minutes)"
	@echo "make pretrained  train the pretrained models again and write their cards (two hours)"
	@echo "make wheel-test  build the wheel, install only the wheel, train and generate with it"
	@echo "make clean       remove the virtual environment and the build files"

demo: $(VENV)/installed
	rm -rf dinosaurs.checkpoints
	$(BIN)/python recipes/dinosaurs.py

# A test file runs in one process; the order of conftest.py starts the slow files first.
test: $(VENV)/installed-test
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 \
		--dist loadfile --no-loadscope-reorder --ignore tests/browser \
		--ignore tests/docs --ignore tests/notebooks

# Chromium is a package of the system: apt-get install chromium
test-browser: $(VENV)/installed-browser
	$(BIN)/python -m pytest tests/browser

# What depends on the backend: datasets, layers, models and their files, decoding,
# metrics, training and checkpoints, and the commands that train and generate. Tests with
# the mark `tensorflow` are left out. A function runs a few times only, so that most
# optimizations of XLA would take longer than they save; the cache helps the next run.
JAX_TESTS := tests/test_backends.py tests/test_backend.py tests/distributed \
	tests/test_distribution.py tests/test_datasets.py \
	tests/test_line_dataset.py tests/layers tests/models/test_language_model.py \
	tests/models/test_saving.py tests/models/test_loading.py tests/models/test_blend.py \
	tests/decoding/test_sampling.py tests/decoding/test_loop.py \
	tests/decoding/test_readers.py tests/decoding/test_writer.py \
	tests/training/test_metrics.py tests/training/test_sampled_softmax.py \
	tests/training/test_checkpoints.py tests/training/test_session.py \
	tests/cli/test_generate.py tests/cli/test_train.py::test_train_then_generate \
	tests/models/test_keras_writer.py::test_training_starts_from_the_values_of_reset_state

test-jax: $(VENV)/installed-jax
	KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 \
		JAX_COMPILATION_CACHE_DIR=$(CURDIR)/$(VENV)/jax-cache \
		JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 \
		$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 \
		--dist loadfile --no-loadscope-reorder $(JAX_TESTS)

# A warning of Sphinx is an error. The tests run the code of the pages.
docs: $(VENV)/installed-docs
	rm -rf docs/_build
	$(BIN)/python -m sphinx --builder html --quiet --nitpicky --fail-on-warning \
		--keep-going docs docs/_build/html
	$(BIN)/python -m pytest tests/docs

notebooks: $(VENV)/installed-notebook
	$(BIN)/python -m pytest tests/notebooks

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

bench-poet: $(VENV)/installed-browser
	$(BIN)/python benchmarks/poet.py

bench-generate: $(VENV)/installed-bench
	$(BIN)/python benchmarks/generate.py

bench-serve: $(VENV)/installed-test
	$(BIN)/python benchmarks/serve.py

bench-train: $(VENV)/installed-bench
	$(BIN)/python benchmarks/train.py

pretrained: $(VENV)/installed
	$(BIN)/python benchmarks/pretrained.py

# In a separate environment, and in an empty folder.
wheel-test:
	PYTHON=$(PYTHON) tests/wheel.sh

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info

# Each target adds its extra packages to those of the target before it.
$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

$(VENV)/installed-jax: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[jax]'
	touch $@

$(VENV)/installed-browser: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[browser]'
	touch $@

$(VENV)/installed-docs: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

$(VENV)/installed-notebook: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[notebook]'
	touch $@

$(VENV)/installed-bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

$(VENV)/installed-dev: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
