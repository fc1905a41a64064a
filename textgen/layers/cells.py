"""The recurrent cells that textgen knows: one registry, which loads no Keras."""

import importlib
from typing import Any

# Name of the cell -> class of its layer, in `recurrent.py` and in Keras alike.
CELLS = {"simple_rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}


def layer_class(cell: str) -> Any:
    """Returns textgen's layer class of a cell, by the cell's name."""
    return getattr(importlib.import_module("textgen.layers.recurrent"), CELLS[cell])
