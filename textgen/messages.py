"""Texts of others in messages of textgen."""

# Longer parts of messages are shortened.
_LIMIT = 300


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
        each
        if each.isprintable()
        else each.encode("unicode_escape", "surrogatepass").decode("ascii")
        for each in words
    )
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"
