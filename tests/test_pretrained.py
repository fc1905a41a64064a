import hashlib
from pathlib import Path

import pytest

import textgen

FOLDER = Path(__file__).parent.parent / "pretrained"


@pytest.mark.parametrize("path", FOLDER.glob("*.keras"), ids=lambda path: path.stem)
def test_model_is_that_of_its_card(path):
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    model = textgen.load(path)
    assert model.generate("ROMEO:\n", 50, seed=0).startswith("ROMEO:\n")
    assert f"LSTM {model.units[0]}" in card
