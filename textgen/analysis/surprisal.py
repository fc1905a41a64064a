"""How surprising each token of a text is for a model.

Names of dimensions: T tokens of all texts.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from textgen.analysis.alignment import per_character, pieces_of
from textgen.decoding.score import Score
from textgen.text.unknown import encode_each


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Surprisal:
    """Surprisal of each token of a text, in bits.

    Attributes:
        tokens: tuple of T str. The text that each token adds; joined, they are the
            text. The text of a token that ends within a character is empty.
        bits: float64 array of shape `(T,)`. The negative logarithm to the base 2 of the
            probability of each token. NaN for the first token of a text if the model
            predicts no first token (`start_step=False`).
        score: `Score`. The same as one number.
    """

    tokens: tuple[str, ...]
    bits: np.ndarray
    score: Score

    @property
    def text(self) -> str:
        """The text of all tokens."""
        return "".join(self.tokens)

    @property
    def bits_per_character(self) -> float:
        """The mean: all bits, divided by the number of characters that count."""
        return self.score.nats_per_character / math.log(2)

    def by_character(self) -> np.ndarray:
        """Returns the surprisal of each character, in bits.

        The bits of a token are spread evenly over the characters that it adds.

        Returns:
            float64 array of shape `(characters,)`; NaN where it is not known.
        """
        return per_character(self.tokens, self.bits)

    def __repr__(self) -> str:
        return (
            f"Surprisal({len(self.tokens):,} tokens, "
            f"{self.bits_per_character:.4f} bits per character)"
        )


def surprisal(
    model: Any, text: str | Sequence[str], unknown: str | None = None
) -> Surprisal:
    """Returns how surprising each token of a text is for a model, in bits.

    The surprisal of a token is `-log2` of its probability after the tokens before it
    (Hale, "A Probabilistic Earley Parser as a Psycholinguistic Model", NAACL 2001). A
    text that is coloured by it shows what a model expects, as in Gehrmann, Strobelt and
    Rush, "GLTR: Statistical Detection and Visualization of Generated Text", ACL 2019.

    Args:
        model: Any model of textgen, also a `Blend`.
        text: str, or a list of separate texts, such as lines, each with its newline:
            each is read from the beginning, and the results are joined.
        unknown: str or `None`. What to do with symbols that are not in the vocabulary;
            see `Vocabulary.encode`.

    Returns:
        `Surprisal`.

    Raises:
        ValueError: As for `model.score`.

    Example:

    ```python
    found = textgen.surprisal(textgen.load("tinyshakespeare"), text)
    print(found.bits_per_character, found.bits.max())
    ```
    """
    texts = [text] if isinstance(text, str) else list(text)
    encoded = encode_each(texts, lambda each: model.vocabulary.encode(each, unknown))
    score = model.score(encoded)
    predicted = np.ones(sum(map(len, encoded)), bool)
    if not model.reader.begins_with_start:
        starts = np.cumsum([0, *map(len, encoded)])[:-1]
        predicted[starts[[len(each) > 0 for each in encoded]]] = False
    bits = np.full(len(predicted), np.nan)
    bits[predicted] = score.log_probs.astype(np.float64) / -math.log(2)
    return Surprisal(pieces_of(model.vocabulary, encoded), bits, score)


def surprisal_difference(
    first: Surprisal, second: Surprisal
) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns by how many bits a second model is more surprised than a first one.

    If both have the same tokens, these are compared. Otherwise characters are, over
    which the bits of each token are spread evenly.

    Args:
        first: `Surprisal` of a text.
        second: `Surprisal` of the same text, of another model.

    Returns:
        The pieces of the text, a tuple of T str (tokens, or characters), and a float64
        array of shape `(T,)`: the bits of the second model minus those of the first
        one, positive where the second is more surprised. NaN where one is not known.

    Raises:
        ValueError: The texts are not the same.
    """
    if first.text != second.text:
        raise ValueError(
            "The two models have read different texts, because symbols that one of "
            "them does not know were left out or replaced: compare models that know "
            "all symbols of the text."
        )
    if first.tokens == second.tokens:
        return first.tokens, second.bits - first.bits
    return tuple(first.text), second.by_character() - first.by_character()
