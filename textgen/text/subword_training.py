"""Learning subwords from a text with the library tokenizers of Hugging Face.

The library sees each byte of UTF-8 as the character of the same number, so its tokens
are sequences of bytes, and nothing is unknown.
"""

import collections
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from textgen.text.pretokens import WordSplitter
from textgen.text.utf8 import symbol_of

PIECE = 1 << 16  # characters or words that are read at once

_LONGEST = 16  # bytes of a token that the training of a unigram model tries
_ALPHABET = [chr(value) for value in range(256)]


def import_library() -> Any:
    """Returns the module `tokenizers` of Hugging Face."""
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError(
            "Subwords need the library tokenizers of Hugging Face. Install it with\n"
            "  pip install 'keras-textgen[subword]'"
        ) from error
    return tokenizers


def names_of(words: Iterable[str]) -> list[str]:
    """Returns words as the library sees them: each character is a byte of UTF-8."""
    return [word.encode().decode("latin-1") for word in words]


def check_characters(text: str, position: int) -> None:
    """Raises ValueError if a part of a text contains a lone surrogate.

    Args:
        text: str.
        position: int. Where the part begins in the text.
    """
    if found := re.search("[\ud800-\udfff]", text):
        raise ValueError(
            f"The text contains the lone surrogate {found[0]!a} at position "
            f"{position + found.start()}, which is not a character: remove it, or use "
            "a textgen.ByteTokenizer."
        )


def count_words(text: str | Iterable[str]) -> tuple[list[str], list[int]]:
    """Returns the different words of a text or of several, and how often they occur.

    Raises:
        ValueError: There is no text, or it contains a lone surrogate.
    """
    counts: collections.Counter[str] = collections.Counter()
    for each in [text] if isinstance(text, str) else text:
        splitter = WordSplitter()
        for at in range(0, len(each), PIECE):
            check_characters(each[at : at + PIECE], at)
            counts.update(splitter.feed(each[at : at + PIECE]))
        counts.update(splitter.flush())
    if not counts:
        raise ValueError("The text is empty: there is nothing to learn from.")
    words = sorted(counts)
    return words, [counts[word] for word in words]


def _repeated(names: list[str], numbers: list[int]) -> Iterator[list[str]]:
    """Yields each word as often as it occurs, in lists that are not long."""
    for name, number in zip(names, numbers, strict=True):
        while number > 0:
            yield [name] * min(number, PIECE)
            number -= PIECE


def _trained(model: Any, trainer: Any, names: list[str], numbers: list[int]) -> dict:
    """Trains a model of the library; returns its JSON."""
    tokenizer = import_library().Tokenizer(model)
    tokenizer.train_from_iterator(_repeated(names, numbers), trainer)
    return json.loads(tokenizer.to_str())["model"]


def learn_merges(names: list[str], numbers: list[int], size: int) -> list[list[int]]:
    """Returns the merges of byte-pair encoding, as pairs of ids.

    Args:
        names: list of str, as `names_of` returns it.
        numbers: list of int. How often the words occur.
        size: int. Maximum number of tokens.
    """
    library = import_library()
    trainer = library.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        initial_alphabet=_ALPHABET,
        special_tokens=[],
        show_progress=False,
    )
    found = _trained(library.models.BPE(), trainer, names, numbers)
    ids = found["vocab"]
    return [[ids[left], ids[right]] for left, right in found["merges"]]


def learn_pieces(
    names: list[str], numbers: list[int], size: int
) -> tuple[list[str], list[float]]:
    """Returns the symbols of a unigram model after the bytes, and scores of all tokens.

    The scores are not exactly the same each time: the library adds numbers in a random
    order.

    Args:
        names: list of str, as `names_of` returns it.
        numbers: list of int. How often the words occur.
        size: int. Maximum number of tokens.
    """
    library = import_library()
    trainer = library.trainers.UnigramTrainer(
        vocab_size=size,
        initial_alphabet=_ALPHABET,
        special_tokens=[],
        show_progress=False,
        max_piece_length=_LONGEST,
    )
    found = _trained(library.models.Unigram(), trainer, names, numbers)
    # A text that is too short for the library gives scores that are not numbers.
    scores = {name: score for name, score in found["vocab"] if score is not None}
    pieces = sorted(name for name in scores if len(name) > 1)
    # The library gives unused bytes lower and lower scores, in a random order.
    least = min((scores[name] for name in pieces), default=-1.0)
    return (
        [symbol_of(name.encode("latin-1")) for name in pieces],
        [
            min(max(scores.get(name, least), least), 0.0)
            for name in (*_ALPHABET, *pieces)
        ],
    )
