"""Several models as one.

Names of dimensions: N texts, T steps, V symbols of the common vocabulary.
"""

import os
from collections.abc import Sequence

import numpy as np

from textgen.decoding.readers import BlendReader
from textgen.decoding.writer import Writer
from textgen.models.loading import load
from textgen.text.vocabulary import Vocabulary


class Blend(Writer):
    """Writes with a mixture of the next-symbol distributions of several models.

    The vocabulary is the union of theirs. A model gives a symbol that it does not know
    the probability 0, and reads "no symbol" in its place.

    Args:
        models: Sequence of models, of paths of `.keras` files, or of names of
            pretrained models.
        weights: Sequence of float or `None`. The share of each model, normalised to a
            sum of 1; `None` for equal ones. Defaults to `None`.

    Raises:
        ValueError: The vocabularies are of different levels, or the weights do not fit.

    Example:

    ```python
    both = textgen.Blend(["shakespeare", "sonnets-large"], [0.7, 0.3])
    print(both.generate("shall i ", temperature=0.7))
    ```
    """

    def __repr__(self) -> str:
        shares = ", ".join(
            f"{weight:.2f} of {model!r}"
            for weight, model in zip(self.weights, self.models, strict=True)
        )
        return f"Blend({shares})"

    def __init__(
        self,
        models: Sequence[Writer | str | os.PathLike[str]],
        weights: Sequence[float] | None = None,
    ) -> None:
        self.models: list[Writer] = [
            load(model) if isinstance(model, str | os.PathLike) else model
            for model in models
        ]
        for model in self.models:
            if not isinstance(model, Writer):
                raise ValueError(
                    f"A blend takes models, paths and names of pretrained models, not "
                    f"{model!r}."
                )
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
        ids = [
            np.array(
                [model.vocabulary.ids.get(each, -1) for each in self.vocabulary.symbols]
            )
            for model in self.models
        ]
        ends = {
            None if each.end_token is None else each.vocabulary.symbols[each.end_token]
            for each in self.models
        }
        # Where they agree, so does the blend.
        end = ends.pop() if len(ends) == 1 else None
        self.end_token = None if end is None else self.vocabulary.ids[end]
        readers = [model.reader for model in self.models]
        self.reader = BlendReader(readers, ids, self.weights)
