"""Files that the tests of this folder share."""

import pathlib

import pytest
from command_line import TEXT

import textgen


@pytest.fixture
def text_file(tmp_path, monkeypatch):
    """Changes to an empty folder with `text.txt`, and to an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEXTGEN_CACHE", str(tmp_path / "cache"))
    pathlib.Path("text.txt").write_text(TEXT, encoding="utf-8")


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    model = textgen.LanguageModel(
        textgen.Vocabulary.from_text(TEXT), cell="gru", units=8, return_sequences=True
    )
    path = tmp_path_factory.mktemp("models") / "model.keras"
    model.save(path)
    return path


@pytest.fixture
def eager(monkeypatch):
    """Trains without a TensorFlow graph: for two batches, that takes half the time."""
    compile = textgen.LanguageModel.compile

    def compile_eagerly(*arguments, **options):
        compile(*arguments, **{**options, "run_eagerly": True})

    monkeypatch.setattr(textgen.LanguageModel, "compile", compile_eagerly)


@pytest.fixture
def untrained(monkeypatch):
    """`fit` does nothing: for what is decided before the training."""
    monkeypatch.setattr(textgen.LanguageModel, "fit", lambda *_, **__: None)


@pytest.fixture
def untimed(monkeypatch):
    """For errors that come with or after the choice: steps are not timed, which takes
    seconds."""
    monkeypatch.setattr("textgen.advice.suggestion.step_seconds", lambda *_: 0.01)
