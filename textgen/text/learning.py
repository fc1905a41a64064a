"""Learns a vocabulary from a text that comes in pieces, while it encodes the text."""

import collections
import itertools
from typing import Any

import numpy as np

from textgen.text.levels import SymbolSplitter, code_points, kept_symbols
from textgen.text.tokenizer import Tokenizer
from textgen.text.tokenizers import learn
from textgen.text.vocabulary import Vocabulary

_LEARNED = 1 << 24  # characters from which subwords are learned

_SLICE = 1 << 16  # characters that are encoded at a time


class Learner:
    """Base class: gives preliminary ids first, and those of a tokenizer at the end."""

    @property
    def size(self) -> int:
        """Number of different preliminary ids so far."""
        raise NotImplementedError

    def feed(self, text: str) -> np.ndarray:
        """Takes the next piece; returns preliminary ids, int array `(tokens,)`."""
        raise NotImplementedError

    def flush(self) -> np.ndarray:
        """Returns the preliminary ids of the end of the text."""
        raise NotImplementedError

    def finish(self, counts: np.ndarray) -> tuple[Tokenizer, np.ndarray]:
        """Returns the tokenizer, and its id for each preliminary id, or -1 for none.

        Args:
            counts: int array of at least `size` items. How often each preliminary id
                occurs.
        """
        raise NotImplementedError


class KnownTokenizer(Learner):
    """Has nothing to learn.

    Args:
        tokenizer: `Tokenizer`.
        unknown: str or `None`. As for `encode`.
    """

    def __init__(self, tokenizer: Tokenizer, unknown: str | None = None) -> None:
        self._tokenizer = tokenizer
        self._encoder = tokenizer.encoder(unknown)

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self._tokenizer)

    def feed(self, text: str) -> np.ndarray:
        """Returns the ids of the tokenizer."""
        return self._encoder.feed(text)

    def flush(self) -> np.ndarray:
        """Returns the ids of the end of the text."""
        return self._encoder.flush()

    def finish(self, counts: np.ndarray) -> tuple[Tokenizer, np.ndarray]:
        """Returns the tokenizer and its ids."""
        return self._tokenizer, np.arange(self.size)


class SubwordLearner(Learner):
    """Learns subwords from the first 16 million characters of a text.

    Args:
        model: `"bpe"` or `"unigram"`.
        size: int or `None`. As for `learn` in `textgen.text.tokenizers`.
        **form: `lowercase` and `normalization`, also as for `learn`.
    """

    def __init__(self, model: str, size: int | None, **form: Any) -> None:
        self._model, self._max_size, self._form = model, size, form
        self._held: list[str] = []
        self._length = 0  # characters that are held back
        self._known: KnownTokenizer | None = None

    @property
    def size(self) -> int:
        """Number of tokens; 0 as long as they are not learned."""
        return 0 if self._known is None else self._known.size

    def feed(self, text: str) -> np.ndarray:
        """Returns ids, once the tokens are learned."""
        if self._known is not None:
            return self._known.feed(text)
        self._held.append(text)
        self._length += len(text)
        return self._learn() if self._length >= _LEARNED else np.zeros(0, np.int32)

    def flush(self) -> np.ndarray:
        """Returns the ids of the end of the text."""
        ids = self._learn() if self._known is None else np.zeros(0, np.int32)
        assert self._known is not None
        return np.concatenate([ids, self._known.flush()])

    def finish(self, counts: np.ndarray) -> tuple[Tokenizer, np.ndarray]:
        """Returns the tokenizer and its ids."""
        assert self._known is not None
        return self._known.finish(counts)

    def _learn(self) -> np.ndarray:
        text = "".join(self._held)
        self._held.clear()
        tokenizer = learn(self._model, text, self._max_size, **self._form)
        self._known = KnownTokenizer(tokenizer)
        slices = range(0, len(text), _SLICE)
        return np.concatenate(
            [self._known.feed(text[at : at + _SLICE]) for at in slices]
        )


class VocabularyLearner(Learner):
    """Learns a `Vocabulary` as `Vocabulary.from_text` does. Preliminary ids count up.

    Args:
        level: `"character"` or `"word"`.
        max_size: int or `None`. As for `Vocabulary.from_text`.
        min_count: int. As for `Vocabulary.from_text`.
        unknown: str. As for `Vocabulary.from_text`.
    """

    def __init__(
        self, level: str, max_size: int | None, min_count: int, unknown: str
    ) -> None:
        self._level, self._unknown = level, unknown
        self._max_size, self._min_count = max_size, min_count
        self._splitter = SymbolSplitter(level)
        # Of characters, by code point; a dict would be ten times as slow.
        self._table = np.full(0x110000 if level == "character" else 0, -1, np.int32)
        self._codes: list[int] = []
        # A missing word gets the next id.
        self._words: dict[str, int] = collections.defaultdict(
            itertools.count().__next__
        )

    @property
    def size(self) -> int:
        """Number of different symbols so far."""
        return len(self._codes) or len(self._words)

    def feed(self, text: str) -> np.ndarray:
        """Returns preliminary ids."""
        return self._learn(self._splitter.feed(text))

    def flush(self) -> np.ndarray:
        """Returns the preliminary ids of the end of the text."""
        return self._learn(self._splitter.flush())

    def _learn(self, symbols: str | list[str]) -> np.ndarray:
        if isinstance(symbols, str):
            codes = code_points(symbols)
            ids = self._table[codes]
            if ids.size and ids.min() < 0:
                new = np.unique(codes[ids < 0])
                self._table[new] = np.arange(self.size, self.size + len(new))
                self._codes += new.tolist()
                ids = self._table[codes]
        else:
            found = map(self._words.__getitem__, symbols)
            ids = np.fromiter(found, np.int32, len(symbols))
        return ids

    def finish(self, counts: np.ndarray) -> tuple[Vocabulary, np.ndarray]:
        """Returns the vocabulary, and its id for each preliminary id."""
        symbols = [*map(chr, self._codes), *self._words]
        counted = dict(zip(symbols, counts.tolist(), strict=False))
        kept = kept_symbols(counted, self._max_size, self._min_count, self._unknown)
        vocabulary = Vocabulary(kept, self._level, self._unknown)
        replacement = vocabulary.ids.get(self._unknown, -1)
        ids = [vocabulary.ids.get(symbol, replacement) for symbol in symbols]
        return vocabulary, np.array(ids)
