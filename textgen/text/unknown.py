"""The error of a text with symbols that a vocabulary lacks."""

_MAX_NAMED = 10  # unknown symbols that an error names


class UnknownSymbolsError(ValueError):
    """A text has symbols that the vocabulary lacks.

    Args:
        symbols: dict of the symbols, and where each stands first, in characters.
        size: int. Symbols of the vocabulary.
    """

    def __init__(self, symbols: dict[str, int], size: int) -> None:
        self.symbols, self.size = symbols, size
        super().__init__(
            self.describe(
                "Use unknown='skip' to leave them out, or unknown=S for a symbol S of "
                "the vocabulary to stand in for them."
            )
        )

    def describe(self, remedy: str) -> str:
        """Returns the message, with a remedy in the words of where it is shown."""
        named = [
            f"{symbol!r} at position {position}"
            for symbol, position in list(self.symbols.items())[:_MAX_NAMED]
        ]
        more = len(self.symbols) - len(named)
        return (
            f"Not in the vocabulary of {self.size} symbols: {', '.join(named)}"
            f"{f' and {more} more' if more else ''}. {remedy}"
        )
