"""Texts of others in messages of textgen, and at a terminal."""

import re

# Longer parts of messages are shortened.
_LIMIT = 300

# All control characters but newline and tab.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: object, limit: int = _LIMIT) -> str:
    """Returns a text in one line, for an error message.

    Control characters, which could change the terminal, are escaped as in Python
    source code. Spaces and newlines become one space. A long text is shortened.

    Args:
        text: Anything; it is converted to str.
        limit: int. Maximum number of characters. Defaults to `300`.
    """
    words = " ".join(str(text)[: 4 * limit].split())
    escaped = "".join(
        each if each.isprintable() else _escape(each) for each in words[: limit + 1]
    )
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def without_controls(text: str) -> str:
    """Returns a text for a terminal: its control characters are escaped.

    Newlines and tabs are kept, and so are all characters that do not control a
    terminal. The result of joined pieces is the joined result of the pieces.
    """
    return _CONTROLS.sub(lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    """Returns the escape sequence of Python source code: `\\x1b`."""
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
