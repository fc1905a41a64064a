"""`textgen convert`; `tests/models/test_legacy.py` tests the conversion."""

import pytest
from command_line import run

import textgen

pytestmark = pytest.mark.usefixtures("text_file")


def test_converted_model_notes_its_corpus(capsys, monkeypatch):
    def convert(path, vocabulary):
        return textgen.LanguageModel(vocabulary, units=4)

    monkeypatch.setattr("textgen.models.legacy.convert", convert)
    options = ["--corpus", "./text.txt", "--level", "word", "--lowercase"]
    assert run("convert", "old.h5", "new.keras", *options) == 0
    assert textgen.load("new.keras").notes == {
        "corpus": "text.txt",
        "encoding": "utf-8",
        "lowercase": True,
        "level": "word",
    }
