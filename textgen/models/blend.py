"""A mixture of several models."""

import os
from collections.abc import Sequence

import numpy as np

from textgen.decoding.blend_reader import BlendReader
from textgen.decoding.writer import Writer
from textgen.models.loading import load
from textgen.text.tokenizer import Tokenizer
from textgen.text.vocabulary import Vocabulary


class Blend(Writer):
    """Generates text from a weighted mean of several models' next-token distributions.

    The vocabulary is the union of the models' vocabularies. If a model does not know a
    token, it gives it the probability 0, and reads "no symbol" (id -1) in its place.
    Models of subwords must have the same tokenizer.

    Args:
        models: Sequence of models, paths of `.keras` files, or names of pretrained
            models.
        weights: Sequence of float or `None`. Weight of each model, normalised to a sum
            of 1; `None` for equal weights. Defaults to `None`.

    Raises:
        ValueError: A model is not a textgen model, the vocabularies have different
            levels, or the weights are out of range.

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
                    "models must contain textgen models, paths of .keras files or "
                    f"names of pretrained models, not {model!r}."
                )
        if not self.models:
            raise ValueError("models is empty: pass at least one model.")
        weights = [1.0] * len(self.models) if weights is None else list(weights)
        if len(weights) != len(self.models):
            raise ValueError(
                f"There are {len(self.models)} models and {len(weights)} weights: pass "
                "one weight per model."
            )
        total = sum(weights)
        if min(weights) < 0 or not 0 < total < float("inf"):
            raise ValueError(
                f"weights={weights} must be finite and at least 0, with a sum above 0."
            )
        self.weights = [weight / total for weight in weights]
        self.vocabulary = _common([model.vocabulary for model in self.models])
        # For each model: its ids of the common symbols, -1 for an unknown symbol.
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
        # The blend has an end token only if all models have the same one.
        end = ends.pop() if len(ends) == 1 else None
        self.end_token = None if end is None else self.vocabulary.ids[end]
        readers = [model.reader for model in self.models]
        self.reader = BlendReader(readers, ids, self.weights)


def _common(tokenizers: list[Tokenizer]) -> Tokenizer:
    """Returns a tokenizer with the tokens of all tokenizers.

    Raises:
        ValueError: There is none.
    """
    first = tokenizers[0]
    levels = sorted({f"{each.level}s" for each in tokenizers})
    if len(levels) > 1:
        raise ValueError(
            f"The models have different tokens, {' and '.join(levels)}: blend models "
            "with vocabularies of the same level."
        )
    if isinstance(first, Vocabulary):
        symbols = {symbol for each in tokenizers for symbol in each.symbols}
        return Vocabulary(symbols, level=first.level)
    if any(each != first for each in tokenizers):
        raise ValueError(
            f"The models have different {first.level} tokenizers: blend models that "
            "were trained with the same tokenizer."
        )
    return first
