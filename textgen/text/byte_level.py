"""Tokenizers whose tokens are bytes: nothing is unknown. `ByteTokenizer`."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from textgen.text.levels import quoted
from textgen.text.normalization import check_form, normalized
from textgen.text.tokenizer import Decoder, Encoder, Tokenizer
from textgen.text.utf8 import Utf8Decoder, added_characters, symbol_of

BYTES = tuple(bytes([value]) for value in range(256))

FORM = ("lowercase", "normalization")  # fields of a configuration, if they are set


class ByteLevelTokenizer(Tokenizer):
    """Base class of tokenizers whose tokens are bytes of UTF-8, or sequences of them.

    The ids 0 to 255 are the bytes, so every text has ids. In `symbols`, a byte that is
    not part of a complete character is written as `<0xE9>`.

    Args:
        tokens: Sequence of bytes. The bytes of each token; the first 256 are `BYTES`.
        lowercase: bool. Whether the text of a training is in lower case. Defaults to
            `False`.
        normalization: `"nfc"`, `"nfkc"` or `None`. Unicode normalization form of the
            text of a training. Defaults to `None`.

    Raises:
        ValueError: `lowercase` or `normalization` is something else.

    Attributes:
        surrogates: bool. Whether lone surrogates have bytes, those that Python's
            `"surrogatepass"` writes; otherwise a text has none.
    """

    surrogates = False

    def __init__(
        self,
        tokens: Sequence[bytes],
        lowercase: bool = False,
        normalization: str | None = None,
    ) -> None:
        check_text_form(lowercase, normalization)
        self.lowercase, self.normalization = lowercase, normalization
        self._tokens = tuple(tokens)
        self.symbols = tuple(map(symbol_of, self._tokens))
        self.ids = {symbol: index for index, symbol in enumerate(self.symbols)}
        sizes = np.array([*map(len, self._tokens), 0], np.int64)  # the last is of -1
        self._sizes, self._starts = sizes, np.cumsum(sizes) - sizes
        self._data = np.frombuffer(b"".join(self._tokens), np.uint8)

    @property
    def form(self) -> dict[str, Any]:
        """The form of the text of a training: the options of `FORM` that are set."""
        return {name: value for name in FORM if (value := getattr(self, name))}

    def in_form(self, text: str) -> str:
        """Returns a text in the form of the text of a training."""
        return "".join(normalized([text], self.lowercase, self.normalization))

    def decoder(self) -> Decoder:
        """Returns a decoder, which holds back a part of a character.

        Bytes that are not UTF-8 decode to U+FFFD.
        """
        return Utf8Decoder(self._tokens, self.surrogates)

    def text_lengths(self, ids: np.ndarray) -> np.ndarray:
        """Returns how many characters each id completes, int64 of shape `(tokens,)`."""
        sizes = self._sizes[ids]
        data = self._data[taken(self._starts[ids], sizes)]
        totals = np.append(
            0, np.cumsum(added_characters(data, self.surrogates), dtype=np.int64)
        )
        ends = np.cumsum(sizes)
        return totals[ends] - totals[ends - sizes]

    def ids_with(self, symbols: str | Iterable[str]) -> list[int]:
        """Returns the ids of the tokens that contain one of these bytes.

        Args:
            symbols: str or iterable of str. ASCII characters, or bytes as `<0xE9>`.

        Raises:
            ValueError: A symbol is more than a byte. A model can generate it from its
                parts, whichever tokens it does not use.
        """
        wanted = set()
        for symbol in symbols:
            byte = self.ids.get(symbol, len(BYTES))
            if byte >= len(BYTES):
                raise ValueError(
                    f"{quoted(symbol)} is not a single byte, so tokens of its parts "
                    f"can be generated one after the other in this model of "
                    f"{self.level}s: only ASCII characters can be forbidden. To end a "
                    "text there, use stop."
                )
            wanted.add(byte)
        return [
            index
            for index, token in enumerate(self._tokens)
            if not wanted.isdisjoint(token)
        ]


def check_text_form(lowercase: bool, normalization: str | None) -> None:
    """Raises ValueError if these are not options of `ByteLevelTokenizer`."""
    if type(lowercase) is not bool:
        raise ValueError(f"lowercase={quoted(lowercase)} must be True or False.")
    check_form(normalization)


def taken(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns the positions of slices in an array, one slice after the other.

    Args:
        starts: int64 array of shape `(slices,)`.
        sizes: int64 array of shape `(slices,)`.

    Returns:
        int64 array of shape `(sizes.sum(),)`.
    """
    shifts = starts - (np.cumsum(sizes) - sizes)
    return np.repeat(shifts, sizes) + np.arange(sizes.sum())


class ByteTokenizer(ByteLevelTokenizer):
    """The 256 bytes of UTF-8; an id is a byte.

    Nothing is ever unknown, and the vocabulary is small for every script. A character
    of another script than Latin is two to four tokens, so a text has more tokens, and
    a model needs a longer memory. Decoding restores every str exactly.

    In `symbols`, an ASCII character stands for its byte, and `<0x80>` to `<0xFF>` are
    the bytes of all other characters.

    Args:
        lowercase: bool. Whether the text of a training is in lower case. Prompts are
            then converted to it too; all other texts are encoded as they are. Defaults
            to `False`.
        normalization: `"nfc"`, `"nfkc"` or `None`. Unicode normalization form of the
            text of a training, also for prompts only. Defaults to `None`.

    Raises:
        ValueError: `lowercase` or `normalization` is something else.

    Example:

    ```python
    tokenizer = textgen.ByteTokenizer()
    ids = tokenizer.encode("né")  # array([110, 195, 169], dtype=int16)
    tokenizer.decode(ids)  # 'né'
    ```
    """

    level = "byte"
    surrogates = True

    def __init__(
        self, lowercase: bool = False, normalization: str | None = None
    ) -> None:
        super().__init__(BYTES, lowercase, normalization)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.form.items())
        return f"ByteTokenizer({options})"

    def tokens(self, text: str) -> Iterable[str]:
        """Splits a text into characters, each of which is one to four tokens."""
        return text

    def encode(
        self, text: str, unknown: str | None = None, match_case: bool = True
    ) -> np.ndarray:
        """Converts a text to ids, its bytes.

        Args:
            text: str.
            unknown: str or `None`. It has no effect: nothing is unknown.
            match_case: bool. With `False`, the text is first converted to the form of
                the text of a training, as a prompt is: `lowercase`, `normalization`.
                Defaults to `True`.

        Returns:
            int16 array of shape `(bytes,)`.
        """
        self.check_unknown(unknown)
        text = text if match_case else self.in_form(text)
        data = text.encode("utf-8", "surrogatepass")
        return np.frombuffer(data, np.uint8).astype(self.dtype)

    def encoder(self, unknown: str | None = None) -> Encoder:
        """Returns an encoder; it holds nothing back."""
        self.check_unknown(unknown)
        return _ByteEncoder(self)

    def get_config(self) -> dict:
        """Returns `{"level": "byte"}`, and the options that are set."""
        return {"level": self.level, **self.form}

    @classmethod
    def from_config(cls, config: dict) -> "ByteTokenizer":
        """Builds a tokenizer from the result of `get_config`.

        Raises:
            ValueError: This is not the configuration of a `ByteTokenizer`.
        """
        if (
            type(config) is not dict
            or set(config) - set(FORM) != {"level"}
            or config["level"] != cls.level
        ):
            raise ValueError(
                f"{quoted(config)} is not a byte tokenizer: it must have the field "
                "level, and no others but lowercase and normalization."
            )
        return cls(**{name: config[name] for name in FORM if name in config})


class _ByteEncoder(Encoder):
    """Encoder of a `ByteTokenizer`."""

    def __init__(self, tokenizer: ByteTokenizer) -> None:
        self._tokenizer = tokenizer

    def feed(self, text: str) -> np.ndarray:
        """Returns the ids of the next piece."""
        return self._tokenizer.encode(text)

    def flush(self) -> np.ndarray:
        """Returns no ids."""
        return np.zeros(0, self._tokenizer.dtype)
