"""Tokens and the characters that they add to a text."""

from collections.abc import Sequence

import numpy as np

from textgen.text.tokenizer import Tokenizer


def pieces_of(tokenizer: Tokenizer, texts: Sequence[np.ndarray]) -> tuple[str, ...]:
    """Returns the text that each token of some texts adds.

    Args:
        tokenizer: `Tokenizer`.
        texts: Sequence of integer arrays of shape `(tokens,)`.

    Returns:
        tuple of str, one for each token of all texts; see `Tokenizer.pieces`.
    """
    return tuple(piece for ids in texts for piece in tokenizer.pieces(ids))


def last_characters(tokens: Sequence[str]) -> np.ndarray:
    """Returns the position of the last character after each token.

    Args:
        tokens: Sequence of str. As `pieces_of` returns them.

    Returns:
        int64 array of shape `(tokens,)`; -1 before the first character.
    """
    return np.cumsum([len(each) for each in tokens], dtype=np.int64) - 1


def per_character(tokens: Sequence[str], amounts: np.ndarray) -> np.ndarray:
    """Spreads an amount of each token evenly over the characters that it adds.

    The amount of a token that adds no character goes to the next token that does; at
    the end of the text, to the last character.

    Args:
        tokens: Sequence of str. As `pieces_of` returns them.
        amounts: float array of shape `(tokens,)`.

    Returns:
        float64 array of shape `(characters,)`, with the same sum.
    """
    lengths = np.array([len(each) for each in tokens], np.int64)
    ends = np.flatnonzero(lengths)  # the tokens that add characters
    if not len(ends):
        return np.zeros(0)
    owners = np.minimum(np.searchsorted(ends, np.arange(len(tokens))), len(ends) - 1)
    sums = np.zeros(len(ends))
    np.add.at(sums, owners, np.asarray(amounts, np.float64))
    return np.repeat(sums / lengths[ends], lengths[ends])
