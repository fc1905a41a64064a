"""Fields of a JSON text that nobody has checked: exact types and ranges."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

from textgen.messages import printable
from textgen.models.legacy_file import damaged

Rule = tuple[Callable[[Any], bool], str]  # a check, and what passes it


def parse(text: str, what: str) -> dict:
    """Returns a JSON object without duplicate names and without NaN.

    Raises:
        ValueError: The text is something else; `what` names it.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict:
        if len(dict(pairs)) != len(pairs):
            raise damaged(f"{what} has a field twice")
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise damaged(f"{what} has the number {constant}")

    def integer(digits: str) -> int:
        if len(digits) > 20:
            raise damaged(f"{what} has a number of {len(digits):,} digits")
        return int(digits)

    try:
        result = json.loads(
            text,
            object_pairs_hook=unique,
            parse_constant=refuse,
            parse_int=integer,
        )
    except json.JSONDecodeError as error:
        raise damaged(f"{what} is not JSON: {error}") from error
    except RecursionError as error:
        raise damaged(f"{what} has too many brackets") from error
    return object_of(result, what)


def object_of(value: Any, what: str, fields: frozenset[str] | None = None) -> dict:
    """Returns a dict; raises ValueError for another type or an unknown field."""
    if not isinstance(value, dict):
        raise damaged(f"{what} is {quoted(value)}, not an object")
    for key in value:
        if fields is not None and key not in fields:
            raise damaged(f"{what} has an unknown field, {quoted(key)}")
    return value


def quoted(value: Any) -> str:
    """Returns a value for a message, shortened."""
    return printable(repr(value), 60)


def number(low: float, high: float, below: bool = False) -> Callable[[Any], bool]:
    """Returns a check for finite numbers from `low` to `high`, or below it."""

    def check(value: Any) -> bool:
        return (
            type(value) in (int, float)
            and math.isfinite(value)
            and low <= value <= high
            and not (below and value == high)
        )

    return check


def count(value: Any) -> bool:
    """Tells whether a value is a positive integer."""
    return type(value) is int and 0 < value < 2**31


_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.>]{0,99}")


def plain(value: Any) -> bool:
    """Tells whether a value is the name of a class or function."""
    return isinstance(value, str) and _PLAIN.fullmatch(value) is not None


RATE: Rule = (number(0, 1, below=True), "at least 0 and less than 1")
NAME: Rule = (plain, "a name")
TEXT: Rule = (lambda value: isinstance(value, str), "a name")
FLAG: Rule = (lambda value: type(value) is bool, "true or false")
COUNT: Rule = (count, "a positive integer")
LIMIT: Rule = (number(1e-12, 1e12), "a positive number")
SHARE: Rule = (number(0, 1), "a number from 0 to 1")
SPEED: Rule = (number(0, 1000), "a number from 0 to 1,000")


def get(config: dict, key: str, rule: Rule) -> Any:
    """Returns a field that must exist and obey a rule."""
    where = quoted(config.get("name", "the optimizer"))
    if key not in config:
        raise damaged(f"{where} has no field {key!r}")
    if not rule[0](config[key]):
        raise damaged(f"{where}: {key}={quoted(config[key])} must be {rule[1]}")
    return config[key]
