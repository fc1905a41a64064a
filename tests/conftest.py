"""Fixtures of all tests: quiet TensorFlow, corpora that may be missing, recipes."""

import os
import runpy
import signal
import sys
from pathlib import Path

import pytest

import textgen
from textgen.quiet import SIGNALS

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


# The files of half a minute and more, the longest first: a process that starts one of
# them last would keep the others waiting.
LONG = [
    *("trainer", "train", "keras_writer", "language_model", "recipes", "saving"),
    *("lyrics", "writer", "recurrent", "names", "sonnets", "readme", "scoring"),
    *("sampled_softmax", "checkpoints", "session", "labelled", "blend"),
]


def pytest_collection_modifyitems(items):
    """Sorts the test files; the order within a file does not change."""
    ranks = {f"test_{name}": rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(LONG)))


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
