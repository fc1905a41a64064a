"""The score of a text, token by token, for people who look at it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def scored(
    model: Any,
    text: str,
    alternatives: int,
    unknown: str | None = None,
    label: str | Sequence[str] | None = None,
) -> dict[str, Any]:
    """Scores a text, and looks up what else could have been at each place.

    Tokens that are parts of one character are joined: the probability is their product,
    and the alternatives are those of the first one.

    Args:
        model: A textgen model.
        text: str. Its symbols are matched to the vocabulary, as those of a prompt.
        alternatives: int. Most probable tokens at each place, may be 0.
        unknown: str or `None`. As for `model.score`.
        label: str, sequence of str or `None`. As for `model.score`.

    Returns:
        dict with the fields of `schema.Scored`, without the model.

    Raises:
        ValueError: As for `model.score`.
    """
    ids = model.vocabulary.encode(text, unknown, match_case=False)
    score = model.score(ids, label=label, alternatives=alternatives or None)
    found = score.alternatives or [[]] * score.count
    # The first token does not count if the model cannot predict it.
    missing = len(ids) - score.count
    log_probs = np.append(np.full(missing, np.nan), score.log_probs)
    found = [[]] * missing + found
    tokens, first = [], 0
    for index, piece in enumerate(model.vocabulary.pieces(ids)):
        if piece:
            part = float(np.sum(log_probs[first : index + 1], dtype=np.float64))
            others = [
                {"text": symbol, "probability": _short(probability)}
                for symbol, probability in found[first]
            ]
            tokens.append(
                {
                    "text": piece,
                    "probability": None if math.isnan(part) else _short(math.exp(part)),
                    "alternatives": others,
                }
            )
            first = index + 1
    per_character = score.nats_per_character / math.log(2)
    return {
        "nats": score.nats,
        "bits": score.bits,
        "perplexity": _finite(score.perplexity),
        "bits_per_character": _finite(per_character),
        "count": score.count,
        "tokens": tokens,
    }


def _short(probability: float) -> float:
    """Returns six digits: single precision has no more."""
    return float(f"{probability:.6g}")


def _finite(value: float) -> float | None:
    """Returns `None` for values that JSON does not have."""
    return value if math.isfinite(value) else None
