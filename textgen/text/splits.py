"""Cuts a text into a part to train on and a part to validate on."""

import random
from typing import Protocol, Self, TypeVar


class _Sliceable(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: slice, /) -> Self: ...


_Text = TypeVar("_Text", bound=_Sliceable)


def split(text: _Text, validation: float) -> tuple[_Text, _Text]:
    """Cuts a text in two: the beginning to train on, the end to validate on.

    Cut before making windows of it, or windows of one part would hold characters
    of the other.

    Args:
        text: str, list of lines, or array of ids; anything that can be sliced.
        validation: float in [0, 1). The share of the items at the end.

    Returns:
        A tuple `(train, validation)`; the first has `int(len(text) * (1 - validation))`
        items.

    Raises:
        ValueError: `validation` is not in [0, 1).
    """
    if not 0 <= validation < 1:
        raise ValueError(
            f"validation={validation} must be a share of the text: at least 0 and "
            "less than 1, for example 0.1."
        )
    # Rounded first: 10 * (1 - 0.9) is a little less than 1.
    cut = int(round(len(text) * (1 - validation), 6))
    return text[:cut], text[cut:]


def split_lines(
    text: str, validation: float = 0.1, seed: int = 0
) -> tuple[list[str], list[str]]:
    """Cuts a text of lines in two: lines to train on, and lines to validate on.

    Lists of names are often sorted, so that their end is no fair sample. The lines are
    therefore put in a random order, which depends on `seed` and on the number of lines
    only, and are then cut as `split` cuts them.

    Args:
        text: str. Lines that end with `"\\n"`; empty ones are left out.
        validation: float in [0, 1). The share of the lines to validate on. Defaults to
            `0.1`.
        seed: int. Seed of the order. Defaults to `0`.

    Returns:
        A tuple `(train_lines, validation_lines)` of lists of str, without `"\\n"`.

    Raises:
        ValueError: `validation` is not in [0, 1).

    Example:

    ```python
    names = textgen.load_corpus("dinosaurs")
    train_names, validation_names = textgen.split_lines(names, validation=0.1)
    ```
    """
    lines = [line for line in text.split("\n") if line]
    return split(random.Random(seed).sample(lines, len(lines)), validation)
