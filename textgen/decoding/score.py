"""`Score`: the result of `model.score`."""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True, repr=False)
class Score:
    """How well a model predicts a text.

    Attributes:
        nats: float. Mean negative log probability of a token, in nats.
        bits: float. The same in bits: nats divided by ln 2.
        perplexity: float. exp(nats).
        count: int. Number of scored tokens.
        log_probs: float32 array of shape `(count,)`. The natural logarithm of the
            probability of each token, in the order of the text.
        text_nats: float64 array of shape `(N,)`. The `nats` of each text of the list
            (N is 1 for a str); NaN for a text without scored tokens.
        adapted: bool. Whether the model learned from the text while it was scored
            (`Adaptation`). Compare such a score only with scores of the same kind.
        characters: int. Number of characters of the scored tokens.
        alternatives: list or `None`. With `alternatives`, what else could be at the
            place of each scored token: a list of tuples `(symbol, probability)`, the
            most probable first, for each item of `log_probs`.
        nats_per_character: float. Their negative log probability in nats, divided by
            `characters`. It compares models with different tokens.
    """

    nats: float
    bits: float
    perplexity: float
    count: int
    log_probs: np.ndarray
    text_nats: np.ndarray
    adapted: bool = False
    characters: int = 0
    alternatives: list[list[tuple[str, float]]] | None = None

    @property
    def nats_per_character(self) -> float:
        """Total negative log probability in nats, divided by `characters`."""
        return self.nats * self.count / self.characters if self.characters else math.nan

    def __repr__(self) -> str:
        kind = "adapted, " if self.adapted else ""
        per_character = ""
        if self.characters != self.count:
            per_character = f", {self.nats_per_character:.4f} nats per character"
        return (
            f"Score({kind}{self.nats:.4f} nats, {self.bits:.4f} bits, perplexity "
            f"{self.perplexity:.4g}, {self.count:,} tokens{per_character})"
        )
