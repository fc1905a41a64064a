"""Other forms of a symbol, for texts that write it differently."""

import unicodedata
from collections.abc import Iterator

# Typographic characters, and the plain ones that old texts have instead.
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′´`ʼ", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        **dict.fromkeys("\t\u00a0\u2002\u2003\u2009\u202f", " "),
    }
)


def similar_forms(symbol: str) -> Iterator[str]:
    """Yields a symbol and its other forms, the most similar ones first.

    `Vocabulary.encode` describes them: the compatibility form, plain quotes, dashes and
    spaces, letters without accents, single quotes, each also in lower and upper case.
    """
    plain = symbol.translate(_PLAIN)
    bare = "".join(
        each
        for each in unicodedata.normalize("NFKD", plain)
        if not unicodedata.combining(each)
    )
    single = plain.replace('"', "'")  # some texts have single quotes only
    compatible = unicodedata.normalize("NFKC", symbol)
    for form in (symbol, compatible, plain, bare, single):
        yield from (form, form.lower(), form.casefold(), form.upper())
