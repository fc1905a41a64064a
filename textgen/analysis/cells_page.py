"""The page of `textgen cells`: a text coloured by any cell.

Names of dimensions: T tokens, C cells, K features.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from textgen.analysis.activations import Activations
from textgen.analysis.features import MEANINGS
from textgen.analysis.page import page
from textgen.analysis.ranking import Measured

# Activations of a page, of one byte each: in base64, they are 9.6 MB.
MAX_VALUES = 7_200_000

_CAUTION = (
    "r is Pearson’s correlation over {count:,} tokens of this one text. The best of "
    "{cells:,} cells follows many features even without training: the last column is "
    "the best |r| of the same network with random weights. The r of the two halves of "
    "the text (under the pointer) should agree."
)


def tokens_shown(activations: Activations) -> int:
    """Returns how many tokens a page of at most 10 MB can show."""
    count, cells = activations.values.shape
    return min(count, max(1, MAX_VALUES // cells))


def cells_page(
    activations: Activations,
    measured: Measured,
    title: str,
    about: str,
    baseline: Mapping[str, float],
) -> str:
    """Returns a page in HTML, which shows the first tokens coloured by any cell.

    Args:
        activations: `Activations`.
        measured: `Measured`. Its correlations, of all tokens.
        title: str. Heading of the page.
        about: str. A line below it.
        baseline: dict of str and float. For each feature, the size of the best
            correlation of an untrained network.
    """
    shown = tokens_shown(activations)
    values = activations.values[:shown]
    scales = np.abs(values).max(axis=0).astype(np.float64)
    features = measured.features[:shown]
    best = int(np.abs(measured.whole[0]).argmax()) if measured.names else 0
    return page(
        "cells",
        title,
        {
            "title": title,
            "about": about,
            "caution": _CAUTION.format(
                count=len(activations.tokens), cells=values.shape[1]
            ),
            "layers": [list(layer) for layer in activations.layers],
            "tokens": list(activations.tokens[:shown]),
            "scales": scales.round(6).tolist(),
            "cells": [
                _quantized(values[:, cell], scale) for cell, scale in enumerate(scales)
            ],
            "features": [
                _feature(measured, row, features[:, row], baseline)
                for row in range(len(measured.names))
            ],
            "first": best,
        },
    )


def _feature(
    measured: Measured, row: int, values: np.ndarray, baseline: Mapping[str, float]
) -> dict[str, Any]:
    """Returns a feature, and its correlation with each cell."""
    name, scale = measured.names[row], float(values.max(initial=0))
    return {
        "name": name,
        "meaning": MEANINGS[name],
        "r": measured.whole[row].round(3).tolist(),
        "halves": measured.halves[:, row].round(3).tolist(),
        "untrained": round(baseline[name], 2),
        "scale": scale,
        "values": _quantized(values, scale),
    }


def _quantized(values: np.ndarray, scale: float) -> str:
    """Returns numbers from `-scale` to `scale` as bytes from 1 to 255, in base64."""
    steps = np.rint(values / (scale or 1) * 127) + 128
    return base64.b64encode(steps.astype(np.uint8).tobytes()).decode("ascii")
