"""From bytes to text, in pieces: the UTF-8 of tokens that are parts of characters.

Bytes that are not UTF-8 decode to U+FFFD, one for each longest part of a character, as
the Unicode Standard recommends (3.9, "U+FFFD Substitution of Maximal Subparts").
With `surrogates`, the three bytes that Python's error handler `"surrogatepass"` writes
for a lone surrogate decode to it, so that every str can be bytes.
"""

import codecs
import functools
import re
from collections.abc import Sequence

import numpy as np

from textgen.text.tokenizer import Decoder

_REPAIR = "textgen.repair"  # the name of the error handler

_ESCAPED = re.compile("<0x([0-9A-F]{2})>")


def _repair(error: UnicodeError) -> tuple[str, int]:
    """Decodes a lone surrogate; replaces other bytes. An error handler of `codecs`."""
    assert isinstance(error, UnicodeDecodeError)
    try:
        text, end = codecs.lookup_error("surrogatepass")(error)
        return str(text), end
    except UnicodeDecodeError:
        return "\ufffd", error.end


codecs.register_error(_REPAIR, _repair)


class Utf8Decoder(Decoder):
    """Decoder of ids that stand for bytes; a part of a character is held back.

    Args:
        tokens: Sequence of bytes. The bytes of each id.
        surrogates: bool. Whether lone surrogates have bytes. Defaults to `False`.
    """

    def __init__(self, tokens: Sequence[bytes], surrogates: bool = False) -> None:
        self._tokens = tokens
        errors = _REPAIR if surrogates else "replace"
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors)

    def feed(self, ids: np.ndarray) -> str:
        """Returns the text of the characters that the next ids complete."""
        tokens = self._tokens
        data = b"".join([tokens[index] for index in ids.tolist() if index >= 0])
        return self._decoder.decode(data)

    def flush(self) -> str:
        """Returns U+FFFD for a part of a character at the end of the text."""
        return self._decoder.decode(b"", final=True)


# === Names of tokens ===


def symbol_of(token: bytes) -> str:
    """Returns a text that names a token: no two tokens have the same.

    A byte that is not part of a complete character is written as `<0xE9>`. If the text
    of a token contains such a name literally, its `<` is written as `<0x3C>`.
    """
    text = token.decode("utf-8", "surrogateescape")
    text = _ESCAPED.sub(r"<0x3C>0x\1>", text)
    return re.sub(
        "[\udc80-\udcff]", lambda found: f"<0x{ord(found[0]) - 0xDC00:02X}>", text
    )


def token_of(symbol: str) -> bytes:
    """Returns the bytes of a token from its name, the inverse of `symbol_of`.

    Raises:
        ValueError: `symbol_of` returns no such name.
    """
    parts: list = _ESCAPED.split(symbol)  # text and digits take turns
    parts[::2] = [part.encode("utf-8", "surrogatepass") for part in parts[::2]]
    parts[1::2] = map(bytes.fromhex, parts[1::2])
    token = b"".join(parts)
    if symbol_of(token) != symbol:
        raise ValueError(f"{symbol!a} is not the name of a token.")
    return token


def text_of(symbol: str) -> str | None:
    """Returns the text of a token from its name; `None` for a part of a character.

    Args:
        symbol: str. A symbol of any tokenizer.
    """
    if not _ESCAPED.search(symbol):
        return symbol
    try:
        return token_of(symbol).decode()
    except UnicodeDecodeError:
        return None


# === Number of characters ===

# What a decoder holds back: nothing, or the first bytes of a character. _ONE, _TWO and
# _THREE wait for that number of bytes from 80 to BF. After E0, ED, F0 and F4, not all
# of them can follow. _SURROGATE is ED and a byte from A0 on, two wrong bytes unless
# surrogates have bytes.
_NOTHING, _ONE, _TWO, _THREE, _E0, _ED, _F0, _F4, _SURROGATE = range(9)
_FIRST = (  # (from, to, what is held back)
    (0xC2, 0xDF, _ONE),
    (0xE1, 0xEF, _TWO),
    (0xE0, 0xE0, _E0),
    (0xED, 0xED, _ED),
    (0xF1, 0xF3, _THREE),
    (0xF0, 0xF0, _F0),
    (0xF4, 0xF4, _F4),
)
_NEXT = (  # (what is held back, from, to, what is then held back)
    (_ONE, 0x80, 0xBF, _NOTHING),
    (_TWO, 0x80, 0xBF, _ONE),
    (_THREE, 0x80, 0xBF, _TWO),
    (_E0, 0xA0, 0xBF, _ONE),
    (_ED, 0x80, 0x9F, _ONE),
    (_ED, 0xA0, 0xBF, _SURROGATE),
    (_F0, 0x90, 0xBF, _TWO),
    (_F4, 0x80, 0x8F, _TWO),
    (_SURROGATE, 0x80, 0xBF, _NOTHING),  # the last one, only with `surrogates`
)


@functools.cache
def _tables(surrogates: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns what is held back after a byte, and how many characters it adds.

    Returns:
        Two int8 arrays of shape `(9, 256)`: by what was held back, and by the byte.
    """
    held, added = np.zeros((9, 256), np.int8), np.ones((9, 256), np.int8)
    for first, last, state in _FIRST:
        held[:, first : last + 1], added[:, first : last + 1] = state, 0
    # What was held back is wrong unless the byte continues it.
    added[_ONE:] += 1
    added[_SURROGATE] += 1
    for before, first, last, state in _NEXT if surrogates else _NEXT[:-1]:
        held[before, first : last + 1] = state
        added[before, first : last + 1] = state == _NOTHING
    return held, added


def added_characters(data: np.ndarray, surrogates: bool = False) -> np.ndarray:
    """Returns how many characters each byte adds to the text before it.

    Args:
        data: uint8 array of shape `(bytes,)`.
        surrogates: bool. As for `Utf8Decoder`.

    Returns:
        int8 array of shape `(bytes,)`.
    """
    # A decoder holds back at most three bytes, and the first byte of a character is
    # never a later one of another. So three bytes determine what is held back.
    held, added = _tables(surrogates)
    padded = np.concatenate([np.zeros(3, np.uint8), data])
    state = np.zeros(len(data), np.int8)
    for at in range(3):
        state = held[state, padded[at : at + len(data)]]
    return added[state, data]
