"""The registry of recurrent cells. It does not import Keras."""

import importlib
from typing import Any

# Name of the cell -> name of its layer class, in `recurrent.py` and in Keras.
CELLS = {"simple_rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}

# Name of the cell -> parts of its kernels, each as wide as the layer.
GATES = {"simple_rnn": 1, "gru": 3, "lstm": 4}


def layer_class(cell: str) -> Any:
    """Returns the layer class of textgen for the name of a cell."""
    return getattr(importlib.import_module("textgen.layers.recurrent"), CELLS[cell])
