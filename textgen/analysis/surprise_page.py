"""The page of `textgen surprise`: a text coloured by its surprisal."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from textgen.analysis.page import page
from textgen.analysis.surprisal import Surprisal, surprisal_difference

AROUND = 24  # characters of the context on each side

_PLACES = 12  # the most surprising places of a page


@dataclasses.dataclass(frozen=True)
class Channel:
    """Numbers that colour a text.

    Attributes:
        name: str. What the numbers are.
        values: float64 array of shape `(tokens,)`, in bits; NaN where they are not
            known.
        signed: bool. Whether they can be negative.
        limit: float. The size of a number from which on the colour is the strongest:
            the 99.5 % quantile.
    """

    name: str
    values: np.ndarray
    signed: bool
    limit: float


def channels_of(
    first: Surprisal, second: Surprisal | None, names: Sequence[str]
) -> tuple[tuple[str, ...], list[Channel]]:
    """Returns the pieces of a text, and what they can be coloured by.

    Args:
        first: `Surprisal` of a text.
        second: `Surprisal` of the same text by another model, or `None`.
        names: Sequence of str. The names of the models.

    Returns:
        The pieces (tokens, or characters if the tokens of the models differ), and the
        channels: the surprisal, or the difference and both of them.

    Raises:
        ValueError: As for `surprisal_difference`.
    """
    if second is None:
        return first.tokens, [_channel(f"surprisal for {names[0]}", first.bits)]
    pieces, difference = surprisal_difference(first, second)
    same = first.tokens == second.tokens
    both = [each.bits if same else each.by_character() for each in (first, second)]
    shared = max(_limit(each, 4) for each in both)
    name = f"{names[1]} minus {names[0]}"
    return pieces, [
        Channel(name, difference, True, _limit(np.abs(difference), 1)),
        *(
            Channel(f"surprisal for {name}", bits, False, shared)
            for name, bits in zip(names, both, strict=True)
        ),
    ]


def most_surprising(values: np.ndarray, count: int) -> list[int]:
    """Returns the places of the largest numbers, largest first, without NaN."""
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")
    return [at for at in order[:count].tolist() if not np.isnan(values[at])]


def mean_per_character(pieces: Sequence[str], values: np.ndarray) -> float:
    """Returns the sum of the known numbers, divided by the characters that have one.

    Args:
        pieces: Sequence of str.
        values: float64 array of shape `(pieces,)`; NaN where it is not known.

    Returns:
        float; NaN if no number is known.
    """
    known = ~np.isnan(values)
    characters = sum(map(len, itertools.compress(pieces, known)))
    return float(values[known].sum() / characters) if characters else math.nan


def context(pieces: Sequence[str], place: int) -> tuple[str, str, str]:
    """Returns the text before a piece, the piece, and the text after it.

    Args:
        pieces: Sequence of str.
        place: int.

    Returns:
        tuple of three str; the first and the last have at most 24 characters.
    """
    before, after = pieces[max(0, place - AROUND) : place], pieces[place + 1 :][:AROUND]
    return "".join(before)[-AROUND:], pieces[place], "".join(after)[:AROUND]


def surprise_page(
    pieces: Sequence[str], channels: Sequence[Channel], title: str, about: str
) -> str:
    """Returns a page in HTML, which shows a text coloured by the first channel.

    Args:
        pieces: Sequence of str. The text.
        channels: Sequence of `Channel`. The page has a choice if there are several.
        title: str. Heading of the page.
        about: str. A line below it.
    """
    return page(
        "surprise",
        title,
        {
            "title": title,
            "about": about,
            "tokens": list(pieces),
            "channels": [_as_json(pieces, channel) for channel in channels],
        },
    )


def _as_json(pieces: Sequence[str], channel: Channel) -> dict[str, Any]:
    places = most_surprising(channel.values, _PLACES)
    return {
        "name": channel.name,
        "signed": channel.signed,
        "limit": channel.limit,
        "values": [
            None if np.isnan(each) else round(float(each), 3) for each in channel.values
        ],
        "places": [[place, *context(pieces, place)] for place in places],
    }


def _channel(name: str, bits: np.ndarray) -> Channel:
    return Channel(name, bits, False, _limit(bits, 4))


def _limit(values: np.ndarray, least: float) -> float:
    known = values[~np.isnan(values)]
    return float(max(least, np.quantile(known, 0.995))) if len(known) else least
