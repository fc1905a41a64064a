"""Data whose number of steps differs between batches: whether to compile for each.

A graph of TensorFlow does not know the number of steps of such data. If it has only a
few values, the loops of the recurrent layers are compiled with XLA for each of them;
otherwise they are not compiled. A graph with an unknown number of steps is used for any
other data, too. With other backends, this makes no difference.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from textgen import backend, tracing
from textgen.batches import Batches


class Lengths:
    """Remembers for a model which of its data have few numbers of steps."""

    def __init__(self) -> None:
        self._few: dict[str, bool] = {}

    def expect(self, model: Any, purpose: str, x: Any) -> None:
        """Prepares for data; a graph that was traced for other data is dropped.

        Args:
            model: `Trainer`.
            purpose: `"train"` or `"test"`.
            x: The data.
        """
        if hasattr(x, "shape"):
            return  # an array has one length: any graph suits
        few = isinstance(x, Batches) and x.few_lengths
        if few == self._few.get(purpose, False):
            return
        self._few[purpose] = few
        if getattr(model, f"{purpose}_function") is not None:
            getattr(model, f"make_{purpose}_function")(force=True)

    @contextlib.contextmanager
    def step(self, purpose: str) -> Iterator[None]:
        """Surrounds the code of a step of `fit`, `evaluate` or `predict`.

        Args:
            purpose: `"train"`, `"test"` or `"predict"`. `predict` reads batches of one
                length.
        """
        few = backend.few_lengths(self._few.get(purpose, False))
        with few, tracing.step_gradients():
            yield
