"""What all tests share: tests of one backend, corpora that may be missing, recipes."""

import importlib.util
import os
import runpy
import signal
import sys
from pathlib import Path

import pytest

import textgen
from textgen.quiet import SIGNALS

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# XLA compiles the tiny networks of the tests, which takes longer than running them:
# without its optimizations, and with the older code generator, half as long.
# `XLA_FLAGS= make test` compiles as users do.
FAST_COMPILATION = [
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
]


def known_flags(flags):
    """Returns the flags that TensorFlow's XLA has: any other one ends the process."""
    package = importlib.util.find_spec("tensorflow")
    header = Path(package.origin).with_name("include") if package else Path()
    header /= "tensorflow/compiler/xla/xla.pb.h"
    text = header.read_text(encoding="utf-8") if header.is_file() else ""
    return [each for each in flags if f" {each[2:].partition('=')[0]}(" in text]


if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
    os.environ.setdefault("XLA_FLAGS", " ".join(known_flags(FAST_COMPILATION)))


# The files of half a minute and more, the longest first: a process that starts one of
# them last would keep the others waiting.
LONG = [
    *(
        "processes",
        "trainer",
        "train",
        "keras_writer",
        "language_model",
        "recipes",
        "saving",
    ),
    *("lyrics", "writer", "recurrent", "names", "sonnets", "readme", "scoring"),
    *("sampled_softmax", "checkpoints", "session", "labelled", "blend"),
]


BACKENDS = {"tensorflow", "jax"}  # marks of tests that need this backend
BACKEND = os.environ.get("KERAS_BACKEND", "tensorflow")


def pytest_collection_modifyitems(config, items):
    """Leaves out the tests that need another backend, and sorts the test files.

    The order within a file does not change.
    """
    others = BACKENDS - {BACKEND}
    left_out = [x for x in items if any(map(x.get_closest_marker, others))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    ranks = {f"test_{name}": rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(LONG)))


@pytest.fixture(scope="module", autouse=True)
def freed_functions():
    """Frees what JAX compiled: a process runs many files."""
    yield
    if BACKEND == "jax":
        import jax

        jax.clear_caches()


@pytest.fixture(scope="session")
def corpus_text():
    """A function `(name, **kwargs) -> text`; skips a corpus that is not part of the
    package and has no copy in TEXTGEN_DATA."""

    def load(name, **kwargs):
        folder = os.environ.get("TEXTGEN_DATA")
        known = textgen.CORPORA[name]
        if known.url is not None and not (
            folder and (Path(folder).expanduser() / known.file).is_file()
        ):
            pytest.skip(f"no copy of the corpus {name} in TEXTGEN_DATA")
        return textgen.load_corpus(name, **kwargs)

    return load


@pytest.fixture
def run_recipe(tmp_path, monkeypatch, capsys):
    """A function `(name, *arguments) -> printed`; it runs the recipe in `tmp_path`.

    In this process: importing TensorFlow takes longer than what the tests train.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # recipes change it
    handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def run(name, *arguments):
        recipe = Path(__file__).parent.parent / "recipes" / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(recipe), *arguments])
        capsys.readouterr()
        try:
            runpy.run_path(str(recipe), run_name="__main__")
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        return capsys.readouterr().out

    return run
