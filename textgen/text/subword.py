"""The tokenizer of parts of words: `SubwordTokenizer`."""

import collections
import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from textgen.text.byte_level import (
    BYTES,
    FORM,
    ByteLevelTokenizer,
    check_text_form,
    taken,
)
from textgen.text.levels import quoted
from textgen.text.pretokens import WordSplitter, words_of
from textgen.text.subword_tokens import (
    MAX_SIZE,
    check_scores,
    checked_list,
    merged_tokens,
    named_tokens,
)
from textgen.text.subword_training import (
    PIECE,
    check_characters,
    count_words,
    import_library,
    learn_merges,
    learn_pieces,
    names_of,
)
from textgen.text.tokenizer import Encoder

MODELS = ("bpe", "unigram")
_REMEMBERED = 1 << 18  # words, in an encoder


class SubwordTokenizer(ByteLevelTokenizer):
    """Words and parts of words, learned from a text; use `SubwordTokenizer.train`.

    The ids 0 to 255 are the bytes of UTF-8, so nothing is ever unknown. The other
    tokens are frequent sequences of bytes, such as `" the"`. `"bpe"` merges pairs of
    tokens in the order in which they were learned (Sennrich, Haddow and Birch, ACL
    2016), and `"unigram"` chooses the most probable tokens (Kudo, ACL 2018).

    A token never crosses the border of two words (`textgen.text.pretokens`), a newline
    is always a token of its own, and a text without lone surrogates is restored
    exactly.

    Encoding and training need the library tokenizers, which
    `pip install 'keras-textgen[subword]'` installs.

    Args:
        model: `"bpe"` or `"unigram"`.
        merges: Sequence of pairs of ids, for `"bpe"`. The ids of the tokens to merge,
            in this order. A pair whose bytes are not a token yet makes the next token.
        symbols: Sequence of str, for `"unigram"`. The tokens from id 256 on.
        scores: Sequence of float, for `"unigram"`. The natural logarithm of the
            probability of each token, bytes included.
        lowercase: bool. Whether the text of a training is in lower case. Prompts are
            then converted to it too; all other texts are encoded as they are. Defaults
            to `False`.
        normalization: `"nfc"`, `"nfkc"` or `None`. Unicode normalization form of the
            text of a training, also for prompts only. Defaults to `None`.

    Raises:
        ValueError: An argument is missing, or is not what a training can give. The
            message is one line.

    Example:

    ```python
    tokenizer = textgen.SubwordTokenizer.train(text, size=2000)
    ids = tokenizer.encode("shall i compare")
    tokenizer.decode(ids)  # 'shall i compare'
    ```
    """

    level = "subword"

    def __init__(
        self,
        model: str,
        merges: Sequence[Sequence[int]] | None = None,
        symbols: Sequence[str] | None = None,
        scores: Sequence[float] | None = None,
        lowercase: bool = False,
        normalization: str | None = None,
    ) -> None:
        _check_model(model)
        self.model = model
        self.merges: list[list[int]] = []
        self.scores: list[float] = []
        tokens = list(BYTES)
        if model == "bpe":
            _check_given(model, merges=merges)
            _check_absent(model, symbols=symbols, scores=scores)
            tokens += merged_tokens(checked_list("merges", merges))
            self.merges = [list(pair) for pair in merges or ()]
        else:
            _check_given(model, symbols=symbols, scores=scores)
            _check_absent(model, merges=merges)
            tokens += named_tokens(checked_list("symbols", symbols))
            self.scores = list(checked_list("scores", scores))
            check_scores(self.scores, len(tokens))
        super().__init__(tokens, lowercase, normalization)

    @classmethod
    def train(
        cls,
        text: str | Iterable[str],
        size: int = 8000,
        model: str = "bpe",
        lowercase: bool = False,
        normalization: str | None = None,
    ) -> "SubwordTokenizer":
        """Learns the tokens of a text. The same text gives the same tokenizer.

        Args:
            text: str, or iterable of str, several texts.
            size: int, from 257 to 262,144. Number of tokens, bytes included; a short
                text gives fewer. Defaults to `8000`.
            model: `"bpe"` or `"unigram"`. Unigram takes longer to learn, and much
                longer for a script without spaces, such as Chinese. Defaults to
                `"bpe"`.
            lowercase: bool. As for `SubwordTokenizer`; the text is in lower case.
                Defaults to `False`.
            normalization: str or `None`. As for `SubwordTokenizer`; the text is in this
                form. Defaults to `None`.

        Returns:
            A `SubwordTokenizer`.

        Raises:
            ValueError: There is no text, or an argument is out of its range.
            ImportError: The library tokenizers is not installed.
        """
        _check_model(model)
        check_text_form(lowercase, normalization)
        form: Any = {"lowercase": lowercase, "normalization": normalization}
        if type(size) is not int or not len(BYTES) < size <= MAX_SIZE:
            raise ValueError(
                f"size={quoted(size)} must be an integer from {len(BYTES) + 1} to "
                f"{MAX_SIZE:,}: 256 tokens are the bytes."
            )
        words, numbers = count_words(text)
        names = names_of(words)
        if model == "bpe":
            return cls("bpe", learn_merges(names, numbers, size), **form)
        draft = cls("unigram", None, *learn_pieces(names, numbers, size), **form)
        # The scores of the draft are not exactly the same each time; how often it uses
        # its tokens are whole numbers.
        return draft._scored(words, numbers)

    def _scored(self, words: list[str], numbers: list[int]) -> "SubwordTokenizer":
        """Returns a unigram model with the probabilities of its tokens in a text.

        The most frequent tokens come first.

        Args:
            words: list of str. All words of the text.
            numbers: list of int. How often they occur.
        """
        uses = np.full(len(self), 0.5)  # so that no probability is 0
        for at in range(0, len(words), PIECE):
            ids, sizes = self._encode_each(words[at : at + PIECE])
            weights = np.repeat(numbers[at : at + PIECE], sizes)
            uses += np.bincount(ids, weights, len(self))
        order = sorted(
            range(len(BYTES), len(self)), key=lambda x: (-uses[x], self.symbols[x])
        )
        total = math.log(uses.sum())
        scores = [
            round(math.log(uses[index]) - total, 6)
            for index in (*range(len(BYTES)), *order)
        ]
        symbols = [self.symbols[index] for index in order]
        return SubwordTokenizer("unigram", None, symbols, scores, **self.form)

    def __repr__(self) -> str:
        options = {"model": self.model, **self.form}
        named = ", ".join(f"{name}={value!r}" for name, value in options.items())
        return f"SubwordTokenizer({len(self):,} tokens, {named})"

    def tokens(self, text: str) -> Iterable[str]:
        """Splits a text into words, each of which is one or more tokens."""
        return words_of(text)

    def encode(
        self, text: str, unknown: str | None = None, match_case: bool = True
    ) -> np.ndarray:
        """Converts a text to ids.

        Args:
            text: str.
            unknown: str or `None`. It has no effect: nothing is unknown.
            match_case: bool. With `False`, the text is first converted to the form of
                the text of a training, as a prompt is: `lowercase`, `normalization`.
                Defaults to `True`.

        Returns:
            Array of ids of shape `(tokens,)`, int16 or int32.

        Raises:
            ValueError: The text contains a lone surrogate, which is not a character.
            ImportError: The library tokenizers is not installed.
        """
        encoder = self.encoder(unknown)
        if not match_case:
            check_characters(text, 0)  # the position is that in the text as it is
            text = self.in_form(text)
        pieces = [
            encoder.feed(text[at : at + PIECE]) for at in range(0, len(text), PIECE)
        ]
        return np.concatenate([*pieces, encoder.flush()])

    def encoder(self, unknown: str | None = None) -> Encoder:
        """Returns an encoder of one text, which takes it in pieces.

        Args:
            unknown: str or `None`. It has no effect.

        Raises:
            ValueError: In `feed` and `flush`, as for `encode`. The position counts from
                the start of the text.
        """
        self.check_unknown(unknown)
        return _SubwordEncoder(self)

    def _encode_each(self, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ids of all words, and the number of tokens of each word."""
        found = self._library.encode(
            names_of(words), is_pretokenized=True, add_special_tokens=False
        )
        owners = np.array(found.word_ids, np.int64)
        sizes = np.bincount(owners, minlength=len(words))
        return np.array(found.ids, self.dtype), sizes

    @functools.cached_property
    def _library(self) -> Any:
        """The tokenizer of the library."""
        library = import_library()
        names = [token.decode("latin-1") for token in self._tokens]
        if self.model == "unigram":
            scored = list(zip(names, map(float, self.scores), strict=True))
            return library.Tokenizer(library.models.Unigram(scored))
        vocabulary = {name: index for index, name in enumerate(names)}
        merges = [(names[left], names[right]) for left, right in self.merges]
        return library.Tokenizer(library.models.BPE(vocabulary, merges))

    def get_config(self) -> dict:
        """Returns level, model and what it learned, as values that JSON can hold.

        It does not depend on the version of the library. The pairs of `merges` are one
        list, one after the other. `lowercase` and `normalization` are there if they
        are set.
        """
        config = {"level": self.level, "model": self.model, **self.form}
        if self.model == "bpe":
            return {**config, "merges": [each for pair in self.merges for each in pair]}
        symbols = list(self.symbols[len(BYTES) :])
        return {**config, "symbols": symbols, "scores": list(self.scores)}

    @classmethod
    def from_config(cls, config: dict) -> "SubwordTokenizer":
        """Builds a tokenizer from the result of `get_config`.

        Args:
            config: dict. It may come from a file that nobody has checked.

        Raises:
            ValueError: This is not the configuration of a `SubwordTokenizer`. The
                message is one line.
        """
        fields = {"level", "model", "merges"}, {"level", "model", "symbols", "scores"}
        if (
            type(config) is not dict
            or set(config) - set(FORM) not in fields
            or config["level"] != cls.level
        ):
            raise ValueError(
                f"{quoted(config)} is not a subword tokenizer: it must have the fields "
                "level and model, and merges, or symbols and scores."
            )
        values = {name: value for name, value in config.items() if name != "level"}
        if "merges" in values:
            merges = values["merges"]
            if type(merges) is not list or len(merges) % 2:
                raise ValueError(f"merges={quoted(merges)} must be a list of pairs.")
            values["merges"] = list(zip(merges[::2], merges[1::2], strict=True))
        return cls(**values)


class _SubwordEncoder(Encoder):
    """Encoder of a `SubwordTokenizer`."""

    def __init__(self, tokenizer: SubwordTokenizer) -> None:
        self._tokenizer = tokenizer
        self._splitter = WordSplitter()
        self._position = 0  # characters of the text before the next word
        self._forget()

    def _forget(self) -> None:
        # The words so far: a text repeats most of its words. Their numbers, and where
        # the ids of each begin, and how many there are.
        self._numbers: dict[str, int] = collections.defaultdict(
            itertools.count().__next__  # a new word gets the next number
        )
        self._ids = np.zeros(0, self._tokenizer.dtype)
        self._starts, self._sizes = np.zeros((2, 0), np.int64)

    def feed(self, text: str) -> np.ndarray:
        """Takes the next piece; returns the ids that are certain."""
        return self._encode(self._splitter.feed(text))

    def flush(self) -> np.ndarray:
        """Returns the ids of the last word."""
        return self._encode(self._splitter.flush())

    def _encode(self, words: list[str]) -> np.ndarray:
        if not words:
            return np.zeros(0, self._tokenizer.dtype)
        text = "".join(words)
        check_characters(text, self._position)
        self._position += len(text)
        if len(self._numbers) > _REMEMBERED:
            self._forget()
        known, before = self._numbers, len(self._numbers)
        order = np.fromiter(map(known.__getitem__, words), np.int64, len(words))
        if count := len(known) - before:
            new = list(itertools.islice(reversed(known), count))[::-1]
            ids, sizes = self._tokenizer._encode_each(new)
            starts = len(self._ids) + np.cumsum(sizes) - sizes
            self._ids = np.append(self._ids, ids)
            self._starts = np.append(self._starts, starts)
            self._sizes = np.append(self._sizes, sizes)
        return self._ids[taken(self._starts[order], self._sizes[order])]


# === Checks ===


def _check_model(model: Any) -> None:
    if type(model) is not str or model not in MODELS:
        raise ValueError(f"model={quoted(model)} must be one of {', '.join(MODELS)}.")


def _check_given(model: str, **values: Any) -> None:
    for name, value in values.items():
        if value is None:
            raise ValueError(f"model={model!r} needs {name}.")


def _check_absent(model: str, **values: Any) -> None:
    for name, value in values.items():
        if value is not None:
            raise ValueError(f"model={model!r} has no {name}.")
