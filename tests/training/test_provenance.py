import hashlib
import platform
import sys

import keras
import numpy as np
import pytest

import textgen


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("dinosaurs", "dinosaurs"),
        ("/home/me/po ems.txt", "po ems.txt"),
        (["/home/me/a.txt", "b.txt"], "a.txt, b.txt"),
        ("-", None),
    ],
)
def test_notes(corpus, name, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/home/me/train.py", "--name", "a b"])
    notes = textgen.training_notes(corpus, "aé\n", seed=7, held_out_nats=1.5)
    assert notes == {
        "corpus": name or "standard input",
        "corpus_sha256": hashlib.sha256(b"a\xc3\xa9\n").hexdigest(),
        "seed": 7,
        "versions": {
            "textgen": textgen.__version__,
            "keras": keras.__version__,
            keras.backend.backend(): sys.modules[keras.backend.backend()].__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "command": "python train.py --name 'a b'",
        "held_out_nats": 1.5,
    }
    assert textgen.training_notes("a", "\ud800", 0, "textgen train a")["command"] == (
        "textgen train a"
    )
