"""Which cells follow a readable feature of the text.

Names of dimensions: T tokens, C cells, K features.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from textgen.analysis.activations import Activations
from textgen.analysis.alignment import last_characters
from textgen.analysis.features import readable_features

# A feature must differ from its most frequent value at this many tokens of each half.
MIN_OTHERS = 10

_BLOCK = 64  # cells whose float64 copies are in the memory at once


@dataclasses.dataclass(frozen=True)
class Match:
    """A cell that follows a feature.

    Attributes:
        feature: str. Name of the feature, see `textgen.readable_features`.
        cell: int. Column of `Activations.values`.
        layer: str. Name of the layer of the cell.
        number: int. Number of the cell in its layer, from 0.
        r: float in [-1, 1]. Pearson correlation of cell and feature over the text.
        halves: tuple of two floats. The correlations in the first and in the second
            half of the text. If they differ much, `r` is an accident of this text.
    """

    feature: str
    cell: int
    layer: str
    number: int
    r: float
    halves: tuple[float, float]

    def __str__(self) -> str:
        first, second = self.halves
        return (
            f"{self.feature}: {self.layer} cell {self.number}, r = {self.r:+.3f} "
            f"(halves {first:+.3f}, {second:+.3f})"
        )


def rank_cells(activations: Activations, count: int = 1) -> list[Match]:
    """Returns the cells that follow each readable feature best.

    The cells of a feature are ranked by the size of their Pearson correlation with it.
    The feature of a token is that of the last character that it completes. A feature
    that is constant, or nearly so (fewer than 10 tokens with another value in a half of
    the text), has no match.

    It is the best of many cells, so even a random network has some correlation; compare
    the two halves of the text, and an untrained network.

    Args:
        activations: `Activations`, as `textgen.cell_activations` returns them.
        count: int. Number of cells for each feature. Defaults to `1`.

    Returns:
        list of `Match`: the features in the order of their best cells, each with its
        cells from best to worst.
    """
    return best_of(measure(activations), activations, count)


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """All correlations of a text.

    Attributes:
        names: list of K str. The features that vary enough.
        features: float32 array of shape `(T, K)`.
        whole: float64 array of shape `(K, C)`. The correlations over the text.
        halves: float64 array of shape `(2, K, C)`. Those in its halves.
    """

    names: list[str]
    features: np.ndarray
    whole: np.ndarray
    halves: np.ndarray


def measure(activations: Activations) -> Measured:
    """Returns the correlations of all features that vary with all cells."""
    names, features = features_of(activations)
    middle = len(features) // 2
    whole, *halves = (
        correlations(features[part], activations.values[part])
        for part in (slice(None), slice(middle), slice(middle, None))
    )
    order = np.argsort(-np.abs(whole).max(axis=1, initial=0), kind="stable")
    return Measured(
        [names[row] for row in order],
        features[:, order],
        whole[order],
        np.array(halves)[:, order],
    )


def best_sizes(measured: Measured) -> dict[str, float]:
    """Returns the size of the best correlation of each feature, by its name."""
    sizes = np.abs(measured.whole).max(axis=1, initial=0)
    return dict(zip(measured.names, sizes.tolist(), strict=True))


def best_of(measured: Measured, activations: Activations, count: int) -> list[Match]:
    """Returns the best cells of each feature, see `rank_cells`."""
    found = []
    for row, name in enumerate(measured.names):
        order = np.argsort(-np.abs(measured.whole[row]), kind="stable")
        for cell in order[:count].tolist():
            first, second = measured.halves[:, row, cell].tolist()
            place = activations.place(cell)
            r = float(measured.whole[row, cell])
            found.append(Match(name, cell, *place, r, (first, second)))
    return found


def features_of(activations: Activations) -> tuple[list[str], np.ndarray]:
    """Returns the features that vary enough.

    Returns:
        list of K names, and float32 array of shape `(T, K)`.
    """
    columns: dict[str, np.ndarray] = {}
    bounds = [*activations.starts.tolist(), len(activations.tokens)]
    parts = [
        _of_tokens(activations.tokens[first:end])
        for first, end in itertools.pairwise(bounds)
        if first < end
    ]
    for name in parts[0]:
        columns[name] = np.concatenate([part[name] for part in parts])
    names = [name for name, values in columns.items() if _varies(values)]
    kept = [columns[name] for name in names]
    shape = (len(names), len(activations.tokens))
    return names, np.array(kept, np.float32).reshape(shape).T


def _of_tokens(tokens: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the features of the tokens of one text, each of shape `(tokens,)`."""
    places = last_characters(tokens)
    return {
        # Before the first character is complete, nothing is known.
        name: np.append(values, 0)[places]
        for name, values in readable_features("".join(tokens)).items()
    }


def correlations(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the Pearson correlation of each feature with each cell.

    Args:
        features: float array of shape `(T, K)`.
        values: float array of shape `(T, C)`.

    Returns:
        float64 array of shape `(K, C)`; 0 for a constant feature or cell.
    """
    features = _standardized(features)
    found = np.zeros((features.shape[1], values.shape[1]))
    for at in range(0, values.shape[1], _BLOCK):
        block = _standardized(values[:, at : at + _BLOCK])
        found[:, at : at + _BLOCK] = features.T @ block
    return np.clip(found, -1, 1)


def _standardized(columns: np.ndarray) -> np.ndarray:
    """Returns columns with mean 0 and length 1; zeros for a constant column."""
    columns = columns.astype(np.float64)
    if not len(columns):
        return columns
    constant = (columns == columns[:1]).all(axis=0)
    columns -= columns.mean(axis=0)
    columns[:, constant] = 0
    lengths = np.linalg.norm(columns, axis=0)
    return columns / np.where(lengths, lengths, 1)


def _varies(values: np.ndarray) -> bool:
    """Whether a feature has enough different values in both halves."""
    middle = len(values) // 2
    for half in (values[:middle], values[middle:]):
        _, counts = np.unique(half, return_counts=True)
        if len(half) - counts.max(initial=0) < MIN_OTHERS:
            return False
    return True
