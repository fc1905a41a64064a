"""Functions that several commands use: read and write files, split texts."""

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import textgen
from textgen.cli import options
from textgen.cli.writing import keyboard_interrupts
from textgen.messages import printable
from textgen.models import catalogue
from textgen.text import reading, sources, splits


def load(arguments: argparse.Namespace) -> Any:
    """Loads a model, or a blend of several.

    Raises:
        FileNotFoundError: A model does not exist. This is checked before Keras is
            imported, so that the error is fast.
        ValueError: `--weights` or `--unknown` do not fit the models.
    """
    paths = [catalogue.find(model) for model in arguments.models]
    weights = getattr(arguments, "weights", None)
    if weights and len(weights) != len(paths):
        raise ValueError(
            f"--weights needs one number per model: there are {len(weights)} numbers "
            f"for {len(paths)} models."
        )
    models = [textgen.load(path) for path in paths]
    model = models[0] if len(models) == 1 else textgen.Blend(models, weights)
    unknown = getattr(arguments, "unknown", None)
    if unknown not in (None, "error", "skip") and unknown not in model.vocabulary:
        raise ValueError(
            f"--unknown {unknown} must be error, skip, or a symbol of the vocabulary."
        )
    return model


def read_corpus(name: str, arguments: argparse.Namespace, **settings: Any) -> str:
    """Returns a corpus in the `--encoding`, and in lower case with `--lowercase`.

    Args:
        name: str. The corpus, as for `textgen.load_corpus`.
        arguments: The parsed arguments.
        **settings: Arguments of `textgen.load_corpus` that replace the options.

    Raises:
        OSError, ValueError: As for `textgen.load_corpus`.
    """
    given = {
        "lowercase": getattr(arguments, "lowercase", False),
        "encoding": getattr(arguments, "encoding", "utf-8"),
    }
    # A download ends in order.
    with keyboard_interrupts(), short_warnings(arguments.parser):
        return reading.load_corpus(name, **{**given, **settings})


@contextlib.contextmanager
def short_warnings(parser: Any) -> Iterator[None]:
    """Prints each warning in one line, without the line of the program.

    Args:
        parser: `options.Parser`. The options that a warning names.
    """

    def show(message: Any, *_: Any) -> None:
        line = printable(parser.name_options(str(message)), options.MESSAGE_LIMIT)
        print(f"{parser.prog}: warning: {line}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def corpus_notes(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the notes that a model keeps about its corpus, see `model.notes`."""
    return {
        "corpus": sources.title(arguments.corpus),
        "encoding": arguments.encoding,
        "lowercase": arguments.lowercase,
        "level": arguments.level,
    }


def check_new_file(
    path: str | Path, option: str, overwrite: bool | None = None
) -> None:
    """Checks that a file can be written, before any work is done for it.

    Args:
        path: str or path.
        option: str. The option that gives the path; empty for a positional argument.
        overwrite: bool or `None`. Whether `--overwrite` was given; `None` for a command
            without this option.

    Raises:
        OSError: The file cannot be written. The subclass says why.
    """
    path = Path(path)
    start = f"{option} {path}".strip()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{start}: the folder {path.parent} does not exist.")
    if path.is_dir():
        raise IsADirectoryError(f"{start} is a folder: give the name of a file.")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{start}: the folder {path.parent} is not writable.")
    if path.exists() and not overwrite:
        remedy = "" if overwrite is None else "use --overwrite to replace it, or "
        raise FileExistsError(f"{start} exists: {remedy}give another name.")


def output_path(arguments: argparse.Namespace, option: str = "--output") -> Path:
    """Returns the path of the model to save, checked before any work is done for it."""
    output = Path(arguments.output)
    if output.suffix != ".keras":
        raise ValueError(f"{option} {output} must end in .keras.".strip())
    check_new_file(output, option, arguments.overwrite)
    return output


def split(
    text: str, validation: float, vocabulary: Any, arguments: argparse.Namespace
) -> tuple[Any, Any]:
    """Splits a text into a part for training and a held-out part.

    Returns:
        Two str, or, with `--lines`, two lists of lines.
    """
    if arguments.lines:
        return splits.split_lines(text, validation, arguments.seed)
    if vocabulary.level == "character":
        return splits.split(text, validation)
    # The boundary must not be inside a word.
    ends = np.fromiter(map(len, vocabulary.tokens(text)), np.int64).cumsum()
    train_ends, _ = splits.split(ends, validation)
    cut = int(train_ends[-1]) if len(train_ends) else 0
    return text[:cut], text[cut:]
