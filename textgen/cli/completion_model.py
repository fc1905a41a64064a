"""The model of `textgen complete`, which needs no Keras for its types and tests."""

from collections.abc import Iterator
from typing import Protocol


class Model(Protocol):
    """What `complete` needs of a model; `LanguageModel` has it."""

    def stream(
        self,
        prompt: str,
        max_new_tokens: int,
        temperature: float | list[float],
        *,
        stop: list[str] | None,
        max_lines: int | None,
        top_k: int | None,
        seed: int | None,
        echo: bool,
        unknown: str | None,
        label: list[str] | None,
    ) -> Iterator[str]:
        """Yields the pieces of a text; with `echo=False`, without the prompt.

        Raises:
            UnknownSymbolsError: The model does not know symbols of the prompt.
            ValueError: An argument is out of its range, or a label is not known.
        """

    def next_symbols(
        self, text: str, count: int, *, unknown: str | None, label: list[str] | None
    ) -> list[tuple[str, float]]:
        """Returns the `count` most probable symbols after a text, best first.

        Returns:
            list of `(symbol, probability)`.

        Raises:
            UnknownSymbolsError: The model does not know symbols of the text.
            ValueError: An argument is out of its range, or a label is not known.
        """
