"""The error for symbols that a vocabulary does not have."""

from collections.abc import Callable, Sequence
from typing import TypeVar

_MAX_NAMED = 10  # unknown symbols that a message names

_MAX_QUOTED = 40  # characters of a text or of a symbol that a message quotes

_Text = TypeVar("_Text")
_Result = TypeVar("_Result")


class UnknownSymbolsError(ValueError):
    """A text has symbols that the vocabulary does not have.

    Args:
        symbols: dict of str and int. Each unknown symbol, and the position of its
            first occurrence, in characters from the start of the text.
        size: int. Number of symbols of the vocabulary.

    Attributes:
        text: str or `None`. The text, where it is one of several.
    """

    def __init__(self, symbols: dict[str, int], size: int) -> None:
        super().__init__(symbols, size)
        self.symbols, self.size = symbols, size
        self.text: str | None = None

    def __str__(self) -> str:
        return self.describe(
            "Use unknown='skip' to leave them out, or unknown=S to replace them with "
            "a symbol S of the vocabulary."
        )

    def describe(self, remedy: str) -> str:
        """Returns the message; the remedy says what to do in Python, in a shell, …"""
        named = [
            f"{_quoted(symbol)} at position {position}"
            for symbol, position in list(self.symbols.items())[:_MAX_NAMED]
        ]
        more = len(self.symbols) - len(named)
        return (
            f"{'' if self.text is None else f'Text {_quoted(self.text)}: '}"
            f"Not in the vocabulary of {self.size} symbols: {', '.join(named)}"
            f"{f' and {more} more' if more else ''}. {remedy}"
        )


def encode_each(
    texts: Sequence[_Text], encode: Callable[[_Text], _Result]
) -> list[_Result]:
    """Encodes several texts; an error about one of them quotes it.

    Raises:
        UnknownSymbolsError: A text has symbols that the vocabulary does not have.
    """
    results = []
    for text in texts:
        try:
            results.append(encode(text))
        except UnknownSymbolsError as error:
            if len(texts) > 1 and isinstance(text, str):
                error.text = text
            raise
    return results


def _quoted(text: str) -> str:
    """Returns the start of a text; `repr` escapes control characters."""
    cut = len(text) > _MAX_QUOTED
    return repr(text[:_MAX_QUOTED] + "…" * cut)
