"""Several models as one.

Names of dimensions: N texts, T steps, V symbols of the common vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from textgen import sampling
from textgen.vocabulary import Vocabulary
from textgen.writing import Writer


class Blend(Writer):
    """Writes with a mixture of the next-symbol distributions of several models.

    The vocabulary is the union of theirs. A model gives a symbol that it does not know
    the probability 0, and reads "no symbol" in its place.

    Args:
        models: Sequence of models: `LanguageModel`, or another `Writer`.
        weights: Sequence of float or `None`. The share of each model, normalised to a
            sum of 1; `None` for equal ones. Defaults to `None`.

    Raises:
        ValueError: The vocabularies are of different levels, or the weights do not fit.

    Example:

    ```python
    both = textgen.Blend([textgen.load("a.keras"), textgen.load("b.keras")], [0.7, 0.3])
    print(both.generate("shall i ", temperature=0.7))
    ```
    """

    def __init__(
        self, models: Sequence[Writer], weights: Sequence[float] | None = None
    ) -> None:
        self.models = list(models)
        if not self.models:
            raise ValueError("A blend needs at least one model.")
        weights = [1.0] * len(self.models) if weights is None else list(weights)
        if len(weights) != len(self.models):
            raise ValueError(
                f"There are {len(self.models)} models and {len(weights)} weights; give "
                "one for each."
            )
        total = sum(weights)
        if min(weights) < 0 or not 0 < total < float("inf"):
            raise ValueError(
                f"weights={weights} must be at least 0, and not all of them 0."
            )
        levels = {model.vocabulary.level for model in self.models}
        if len(levels) > 1:
            raise ValueError("Models of characters and of words cannot be blended.")
        self.weights = [weight / total for weight in weights]
        symbols = {
            symbol for model in self.models for symbol in model.vocabulary.symbols
        }
        self.vocabulary = Vocabulary(symbols, level=levels.pop())
        # The id that each model has for each of the symbols.
        self._ids = [
            np.array(
                [model.vocabulary.ids.get(each, -1) for each in self.vocabulary.symbols]
            )
            for model in self.models
        ]
        # By a window, it makes no difference whether the start id is fed.
        carrying = [model for model in self.models if model._window is None]
        self.start_step = all(model.start_step for model in carrying)
        self._longest_read = max(model._longest_read for model in self.models)
        self._most_read = min(model._most_read for model in self.models)

    def _reading(self) -> list:
        return [each for model in self.models for each in model._reading()]

    def _start(self, rows: int, empty: bool = False) -> list:
        return [
            model._started(rows)
            if self._lacks_start(model) and not empty
            else model._start(rows, empty)
            for model in self.models
        ]

    def _lacks_start(self, model: Writer) -> bool:
        """Whether a model has a start step that the ids of the blend do not have.

        They have none where other models never learned it.
        """
        return not self._starts and model._window is None and model._starts

    def _left(self, length: int) -> int:
        return max(model._left(length) for model in self.models)

    def _prime(
        self, heads: list[np.ndarray], empty: Sequence[bool], started: bool = False
    ) -> list:
        return [
            model._prime(
                [self._for(index, head, np) for head in heads],
                empty,
                started or self._lacks_start(model),
            )
            for index, model in enumerate(self.models)
        ]

    def _step(self, ids: Any, carry: list) -> tuple[Any, list]:
        logits, carries = [], []
        for index, model in enumerate(self.models):
            each, following = model._step(self._for(index, ids, ops), carry[index])
            logits.append(each)
            carries.append(following)
        return self._mixture(logits), carries

    def _read(self, ids: Any, carry: list) -> tuple[Any, Any, list]:
        features, logits, carries = [], [], []
        for index, model in enumerate(self.models):
            feature, each, following = model._read(
                self._for(index, ids, ops), carry[index]
            )
            features.append(sampling.at_least_float32(feature))
            logits.append(each)
            carries.append(following)
        return ops.concatenate(features, axis=-1), self._mixture(logits), carries

    def _for(self, index: int, ids: Any, library: Any) -> Any:
        """Ids of the common vocabulary as those of a model, by NumPy or Keras."""
        start = self.models[index]._start_id
        own = np.where(self._ids[index] < 0, start, self._ids[index]).astype(np.int32)
        found = library.take(own, library.maximum(ids, 0), axis=0)
        return library.where(ids < 0, np.int32(start), found)

    def _mixture(self, logits: list) -> Any:
        """Logits, `(…, V)`, of the mixture of what logits of each model say."""
        total: Any = 0
        for weight, ids, each in zip(self.weights, self._ids, logits, strict=True):
            probabilities = ops.softmax(sampling.at_least_float32(each), axis=-1)
            known = ops.take(probabilities, np.maximum(ids, 0), axis=-1)
            total = total + weight * ops.where(ids >= 0, known, 0)
        return ops.log(total)
