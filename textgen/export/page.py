"""A model as one HTML file, which generates text in any browser.

The file is joined from `page.html`, `page.css` and the scripts of this folder. It
contains the weights in base64 and the rest of the model as JSON. All of it is ASCII, so
that no program that passes the file on can damage it by another encoding.
"""

import base64
import html
import importlib.resources
import os
import re
from typing import Any

import numpy as np

from textgen import files, html_page
from textgen.decoding.defaults import MAX_NEW_TOKENS, TEMPERATURE
from textgen.export.network import Stack, reading_of, stack_of
from textgen.export.tokens import tokens_of
from textgen.layers.cells import CELLS
from textgen.messages import printable
from textgen.text.corpora import CORPORA

SCRIPTS = ("network.js", "text.js", "writing.js", "page.js")

MAX_BYTES = 1 << 28  # of weights; browsers limit the length of a text to 512 MB

_TEXT = 300  # characters of the title, and of the line about the model

_LEVELS = {
    "character": "character",
    "word": "word",
    "byte": "byte",
    "subword": "part of a word",
}


def export_html(
    model: Any,
    path: str | os.PathLike[str],
    half: bool = False,
    title: str | None = None,
    about: str | None = None,
    prompt: str = "",
) -> None:
    """Writes a model as one HTML file, which generates text in any browser.

    The page needs no network and no server: it contains the weights, and a few
    kilobytes of JavaScript. Its logits are those of the model in float32, up to
    rounding. A text depends on the seed, as in Python, but it is another text.

    Args:
        model: `LanguageModel`, or the result of `textgen.from_keras` if its network is
            a plain stack of layers that the page can compute.
        path: str or path of the file. An existing file is replaced.
        half: bool. Whether the weights are stored in 16 bits, float16, in place of 32.
            The file has half the size, and the logits change by about a hundredth.
            Defaults to `False`.
        title: str or `None`. The title of the page. Defaults to `None`: the name of the
            training corpus, if `model.notes` has it.
        about: str or `None`. A line below the title. Defaults to `None`: a sentence
            about the model.
        prompt: str. The beginning that the page shows first. Defaults to `""`.

    Raises:
        ValueError: The page cannot compute the model, its weights are too large for a
            page or not finite; the message says what to do.
        OSError: The file cannot be written; an old file is unchanged.

    Example:

    ```python
    textgen.export_html(textgen.load("tinyshakespeare"), "poet.html", half=True)
    ```
    """
    page = page_of(model, half, title, about, prompt)
    with files.replacing(path) as file:
        file.write(page.encode("ascii"))


def page_of(
    model: Any,
    half: bool = False,
    title: str | None = None,
    about: str | None = None,
    prompt: str = "",
) -> str:
    """Returns the HTML that `export_html` writes. All of it is ASCII."""
    stack = stack_of(model)
    data = _weights(stack.arrays, half)
    tokens = tokens_of(model.vocabulary)
    description = {
        "layers": stack.layers,
        **reading_of(model.reader),
        "end": model.end_token,
        "temperature": TEMPERATURE,
        "length": MAX_NEW_TOKENS,
        "labels": list(model.labels),
        "first_label": len(model.vocabulary),
        "tokens": tokens,
        "prompt": prompt,
        "half": half,
        "count": sum(array.size for array in stack.arrays),
    }
    style = _part("page.css")
    script = "\n".join(map(_part, SCRIPTS))
    parts = {
        "policy": html_page.policy(script, style),
        "style": style,
        "script": script,
        "model": html_page.as_json(description),
        "weights": base64.b64encode(data).decode(),
        "title": _escaped(_title(model) if title is None else title),
        "about": _escaped(describe(model) if about is None else about),
        "facts": _escaped(_facts(model, stack)),
    }
    return html_page.filled(_part("page.html"), parts)


def _weights(arrays: list[np.ndarray], half: bool) -> bytes:
    """Returns all weights, one array after the other, little-endian."""
    size = sum(array.size for array in arrays) * (2 if half else 4)
    if size > MAX_BYTES:
        raise ValueError(
            f"The weights take {size / 2**20:,.0f} MB, more than the "
            f"{MAX_BYTES / 2**20:,.0f} MB that a page can have: "
            + ("use a smaller model." if half else "use half=True, or a smaller model.")
        )
    if half:
        largest = np.finfo(np.float16).max
        if any(np.abs(array).max(initial=0) > largest for array in arrays):
            raise ValueError(
                f"The model has weights above {largest:,.0f}, which do not fit into 16 "
                "bits: use half=False."
            )
    dtype = "<f2" if half else "<f4"
    return b"".join(array.astype(dtype).tobytes() for array in arrays)


def _part(name: str) -> str:
    """Returns a file of this folder."""
    folder = importlib.resources.files("textgen.export")
    return folder.joinpath(name).read_text(encoding="ascii")


def _escaped(text: str) -> str:
    """Returns the text of a stranger as HTML, in one line and in ASCII."""
    line = html.escape(printable(text, _TEXT))
    return line.encode("ascii", "xmlcharrefreplace").decode()


def _corpus(model: Any) -> str | None:
    corpus = model.notes.get("corpus")
    return corpus if isinstance(corpus, str) and corpus.strip() else None


def _title(model: Any) -> str:
    corpus = _corpus(model)
    return "A poet" if corpus is None else re.sub(r"\.\w{1,5}$", "", corpus)


def describe(model: Any, corpus: str | None = None) -> str:
    """Returns the line below the title, if none is given.

    Args:
        model: A model.
        corpus: str or `None`. Name of the training corpus. Defaults to `None`: that of
            `model.notes`.
    """
    corpus = _corpus(model) if corpus is None else corpus
    level = _LEVELS[model.vocabulary.level]
    if corpus is None:
        return f"A small neural network, which writes one {level} at a time."
    read = CORPORA[corpus].description if corpus in CORPORA else corpus
    return (
        f"A small neural network, which learned to write by reading {read}. "
        f"It writes one {level} at a time."
    )


def _facts(model: Any, stack: Stack) -> str:
    layers = ", ".join(
        f"{CELLS[each['kind']]} {each['units']}"
        for each in stack.layers
        if each["kind"] in CELLS
    )
    vocabulary = model.vocabulary
    size = sum(array.size for array in stack.arrays)
    return (
        f"{layers}; {len(vocabulary):,} {vocabulary.level}s; {size:,} weights. "
        "Exported by textgen."
    )
