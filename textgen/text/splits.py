"""Splits a text into a training part and a validation part."""

import random
from typing import Protocol, Self, TypeVar

import numpy as np

_MANY = 10**6  # lines that are shuffled by NumPy


class _Sliceable(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: slice, /) -> Self: ...


_Text = TypeVar("_Text", bound=_Sliceable)


def split(text: _Text, validation: float) -> tuple[_Text, _Text]:
    """Splits a text: the beginning for training, the end for validation.

    Split the text before you cut it into windows. Otherwise training windows contain
    characters of the validation part.

    Args:
        text: str, list of lines, array of ids, or any other sequence with slices.
        validation: float in [0, 1). Share of the items in the validation part.

    Returns:
        A tuple `(train, validation)`; `train` has `int(len(text) * (1 - validation))`
        items.

    Raises:
        ValueError: `validation` is not in [0, 1).
    """
    check_share(validation)
    # Rounded before `int`, because 10 * (1 - 0.9) is slightly less than 1.
    cut = int(round(len(text) * (1 - validation), 6))
    return text[:cut], text[cut:]


def check_share(validation: float) -> None:
    """Raises ValueError if `validation` is not a share in [0, 1)."""
    if not 0 <= validation < 1:
        raise ValueError(
            f"validation={validation} must be a share of the text: at least 0 and "
            "less than 1, for example 0.1."
        )


def split_lines(
    text: str, validation: float = 0.1, seed: int = 0
) -> tuple[list[str], list[str]]:
    """Splits the lines of a text at random: for training and for validation.

    Lists of names are often sorted, so that the last lines are not representative.
    This function shuffles the lines, in an order that depends on `seed` and on the
    number of lines only, and then splits them with `split`.

    Args:
        text: str. Lines that end with `"\\n"`; empty lines are skipped.
        validation: float in [0, 1). Share of the lines for validation. Defaults to
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
    parts = split_line_numbers(len(lines), validation, seed)
    train, held_out = ([lines[number] for number in part] for part in parts)
    return train, held_out


def split_line_numbers(
    count: int, validation: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Splits the numbers of the lines of a text, as `split_lines` splits its lines.

    Args:
        count: int. Number of lines that are not empty.
        validation: float in [0, 1). Share of the lines for validation.
        seed: int.

    Returns:
        A tuple `(train, validation)` of int64 arrays, or uint32 from a million lines
        on, shuffled.
    """
    if count < _MANY:
        order = np.array(random.Random(seed).sample(range(count), count), np.int64)
    else:  # 10 million lines: 0.3 s and 40 MB, instead of 9 s and 500 MB
        order = np.arange(count, dtype=np.uint32 if count < 2**32 else np.uint64)
        np.random.default_rng(seed).shuffle(order)
    return split(order, validation)
