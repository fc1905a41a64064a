"""Checks of arguments; `test_language_model.py` has those of all other arguments."""

import keras
import pytest

import textgen


def test_activation_must_be_a_name():
    vocabulary = textgen.Vocabulary.from_text("abc")
    with pytest.raises(ValueError, match=r"activation=.*must be a name"):
        textgen.LanguageModel(vocabulary, activation=keras.activations.relu)
