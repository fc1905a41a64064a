"""Readable features of a text: numbers for each character, such as the indentation.

A feature at a character describes the text up to and including this character, as the
state of a network does that has read it. (Only `name` looks ahead, to the colon.)
"""

import re
import unicodedata
from collections.abc import Callable

import numpy as np

_QUOTES = {"“": "”", "„": "“", "«": "»", "「": "」", "『": "』"}

_BRACKETS = {"(": ")", "[": "]", "{": "}", "（": "）", "【": "】"}

_VOWELS = frozenset("aeiouæøœ" + "аеиоуыэюя" + "αεηιουω")  # Latin, Cyrillic, Greek

# Letters and spaces, such as `First Citizen`, up to a colon; or a line in capitals.
_NAME = re.compile(r"[^\W\d_][^\W\d_]*(?:[ .'’-]+[^\W\d_]+)*[.]?")

_LONGEST_NAME = 40  # characters


def readable_features(text: str) -> dict[str, np.ndarray]:
    """Returns readable features of each character of a text.

    - `quotes`: 1 inside double quotes, from the opening mark on, 0 at the closing mark.
      `"` opens and closes; `“”`, `„“`, `«»`, `「」` and `『』` are pairs. A blank line
      ends a quotation that was not closed.
    - `brackets`: number of open brackets. `()`, `[]`, `{}`, `（）` and `【】` are
      pairs; a closing bracket that does not fit the last open one is ignored.
    - `line position`: characters of the line so far; 0 at the newline.
    - `indentation`: spaces and tabs at the beginning of the line so far; 0 at the
      newline.
    - `line number`: lines of the paragraph so far, from 1; 0 at the newline of a blank
      line.
    - `word position`: letters and digits of the word so far; 0 outside of words. An
      apostrophe between letters is a part of the word.
    - `word start`: 1 at the first character of a word.
    - `vowel`: 1 at a, e, i, o, u, æ, ø and œ, with any accent, and at the vowels of the
      Cyrillic and Greek alphabets.
    - `capital`: 1 at a capital letter.
    - `space`: 1 at a space, tab or newline.
    - `punctuation`: 1 at punctuation marks (Unicode categories P…).
    - `digit`: 1 at a digit.
    - `name`: 1 at the name of a speaker, as plays print it: at the beginning of a line,
      up to 40 letters, spaces, full stops, apostrophes and hyphens that begin with a
      capital letter and end before a colon; or a complete line of this kind in capital
      letters, at least two.
    - `comment`: 1 from `#` or `//` to the end of the line, and inside `/* */`. `//`
      after a colon, as in an address, does not count.

    Args:
        text: str.

    Returns:
        dict of str and float32 array of shape `(characters,)`, in the order above.
    """
    return {
        name: np.array(feature(text), np.float32) for name, feature in FEATURES.items()
    }


def _quotes(text: str) -> list[int]:
    closing, values, before = "", [], ""
    for each in text:
        if closing and (each == closing or (each == "\n" == before)):
            closing = ""
        elif not closing:
            closing = '"' if each == '"' else _QUOTES.get(each, "")
        values.append(int(bool(closing)))
        before = each
    return values


def _brackets(text: str) -> list[int]:
    expected: list[str] = []
    values = []
    for each in text:
        if each in _BRACKETS:
            expected.append(_BRACKETS[each])
        elif expected and each == expected[-1]:
            expected.pop()
        values.append(len(expected))
    return values


def _line_position(text: str) -> list[int]:
    position, values = 0, []
    for each in text:
        position = 0 if each == "\n" else position + 1
        values.append(position)
    return values


def _indentation(text: str) -> list[int]:
    width, begins, values = 0, True, []
    for each in text:
        if each == "\n":
            width, begins = 0, True
        elif begins and each in " \t":
            width += 1
        else:
            begins = False
        values.append(width)
    return values


def _line_number(text: str) -> list[int]:
    number, begins, values = 0, True, []
    for each in text:
        if begins:
            number = 0 if each == "\n" else number + 1
        begins = each == "\n"
        values.append(number)
    return values


def _word_position(text: str) -> list[int]:
    position, values = 0, []
    for at, each in enumerate(text):
        inside = each in "'’" and position and text[at + 1 : at + 2].isalpha()
        if each.isalnum() or unicodedata.combining(each):
            position += 1
        elif not inside:
            position = 0
        values.append(position)
    return values


def _word_start(text: str) -> list[int]:
    positions = _word_position(text)
    before = [0, *positions]
    return [
        int(now == 1 and then == 0)
        for then, now in zip(before, positions, strict=False)
    ]


def _vowel(text: str) -> list[int]:
    return _each(
        text, lambda each: unicodedata.normalize("NFD", each.lower())[:1] in _VOWELS
    )


def _punctuation(text: str) -> list[int]:
    return _each(text, lambda each: unicodedata.category(each).startswith("P"))


def _name(text: str) -> list[int]:
    values: list[int] = []
    for line in text.split("\n"):
        name, colon, _ = line.partition(":")
        plain = name[:1].isupper() and len(name) <= _LONGEST_NAME
        plain = plain and _NAME.fullmatch(name) is not None
        capitals = name.isupper() and sum(map(str.isalpha, name)) > 1
        length = len(name) if plain and (colon or capitals) else 0
        values += [1] * length + [0] * (len(line) + 1 - length)
    return values[: len(text)]


def _comment(text: str) -> list[int]:
    end, start, values = "", 0, []
    for at, each in enumerate(text):
        two = text[at : at + 2]
        if not end:
            address = two == "//" and text[at - 1 : at] == ":"
            if each == "#" or (two == "//" and not address):
                end, start = "\n", at
            elif two == "/*":
                end, start = "*/", at
        elif text.endswith(end, start + 2 * (end == "*/"), at + 1):
            end = ""
        values.append(int(bool(end)))
    return values


def _each(text: str, belongs: Callable[[str], bool]) -> list[int]:
    """Returns 1 at the characters that belong to a class; each is looked up once."""
    known = {each: int(belongs(each)) for each in set(text)}
    return [known[each] for each in text]


# In the order of the docstring of `readable_features`.
FEATURES: dict[str, Callable[[str], list[int]]] = {
    "quotes": _quotes,
    "brackets": _brackets,
    "line position": _line_position,
    "indentation": _indentation,
    "line number": _line_number,
    "word position": _word_position,
    "word start": _word_start,
    "vowel": _vowel,
    "capital": lambda text: _each(text, str.isupper),
    "space": lambda text: _each(text, str.isspace),
    "punctuation": _punctuation,
    "digit": lambda text: _each(text, str.isdecimal),
    "name": _name,
    "comment": _comment,
}

# What they mean, in a few words.
MEANINGS = {
    "quotes": "inside double quotes",
    "brackets": "number of open brackets",
    "line position": "characters of the line so far",
    "indentation": "spaces and tabs at the beginning of the line",
    "line number": "lines of the paragraph so far",
    "word position": "letters of the word so far",
    "word start": "the first letter of a word",
    "vowel": "a vowel",
    "capital": "a capital letter",
    "space": "a space, tab or newline",
    "punctuation": "a punctuation mark",
    "digit": "a digit",
    "name": "the name of a speaker, before the colon",
    "comment": "inside a comment of a program",
}
