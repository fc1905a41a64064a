"""The most probable tokens at each place of a text, for `score(alternatives=…)`.

Names of dimensions: T steps, V tokens of the vocabulary, K alternatives.
"""

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np


def check_alternatives(count: Any, adaptation: Any) -> None:
    """Raises ValueError for a number of alternatives that `score` cannot return."""
    if count is None:
        return
    whole = isinstance(count, numbers.Integral) and not isinstance(count, bool)
    if not whole or count < 1:
        raise ValueError(f"alternatives={count!r} must be an integer from 1.")
    if adaptation is not None:
        raise ValueError(
            f"alternatives={count} cannot be used with adapt: score without adapt."
        )


def most_probable(
    log_probs: np.ndarray, symbols: Sequence[str], count: int
) -> list[list[tuple[str, float]]]:
    """Returns the K most probable tokens of each step, as `next_symbols` does.

    Args:
        log_probs: float array of shape `(T, V)`.
        symbols: Sequence of str. The text of each token.
        count: int. K; all tokens if there are fewer.

    Returns:
        list of T lists of tuples `(symbol, probability)`, the most probable first, and
        of equally probable ones the first of the vocabulary.
    """
    best = _largest(log_probs, count)
    found = np.take_along_axis(log_probs, best, axis=1).astype(np.float64)
    return [
        [(symbols[index], each) for index, each in zip(ids, probabilities, strict=True)]
        for ids, probabilities in zip(
            best.tolist(), np.exp(found).tolist(), strict=True
        )
    ]


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Returns the columns of the K largest values of each row, int64 `(T, K)`."""
    count = min(count, values.shape[1])
    if count < values.shape[1]:  # to sort all columns would take long
        least = np.partition(values, -count, axis=1)[:, -count, np.newaxis]
        values = np.where(values >= least, values, -np.inf)
    return np.argsort(-values, axis=1, kind="stable")[:, :count]
