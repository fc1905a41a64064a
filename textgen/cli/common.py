"""What several commands do: load models, split texts, check files."""

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import textgen
from textgen.models import catalogue
from textgen.text import splits


def load(arguments: argparse.Namespace) -> Any:
    """Loads a model, or several as one; tells of a mistyped name at once."""
    paths = [catalogue.find(model) for model in arguments.models]
    weights = getattr(arguments, "weights", None)
    if weights and len(weights) != len(paths):
        raise ValueError(
            f"--weights has {len(weights)} numbers for {len(paths)} models."
        )
    import_keras()
    models = [textgen.load(path) for path in paths]
    return models[0] if len(models) == 1 else textgen.Blend(models, weights)


def import_keras() -> Any:
    """Imports Keras without the lines that TensorFlow prints as it starts."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silent_descriptor(2):
        import keras

        # The first operation looks for a GPU, and says so when there is none.
        keras.ops.zeros(())
    return keras


@contextlib.contextmanager
def _silent_descriptor(descriptor: int) -> Iterator[None]:
    """Sends a file descriptor nowhere: native code does not use `sys.stderr`."""
    saved, nowhere = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, descriptor)
        yield
    finally:
        os.dup2(saved, descriptor)
        os.close(saved)
        os.close(nowhere)


def check_new_file(path: str | Path, overwrite: bool | None = None) -> None:
    """Checks that a file can be written, before any work is done for it.

    Args:
        path: str or path.
        overwrite: bool or `None`. Whether `--overwrite` was given; `None` for a command
            that has no such option.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent} to write into.")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise PermissionError(f"No file {path} can be written here.")
    if path.exists() and not overwrite:
        option = "" if overwrite is None else "--overwrite, or "
        raise FileExistsError(f"{path} exists; give {option}another name.")


def output_path(arguments: argparse.Namespace) -> Path:
    """Checks where a model is to be saved, before any work is done for it."""
    output = Path(arguments.output)
    if output.suffix != ".keras":
        raise ValueError(f"The output {output} must end in .keras.")
    check_new_file(output, arguments.overwrite)
    return output


def split(
    text: str, validation: float, vocabulary: Any, arguments: argparse.Namespace
) -> tuple[Any, Any]:
    """Cuts a text into what `train` learns from and what it holds out.

    Returns:
        Two str, or, with `--lines`, two lists of lines.
    """
    if arguments.lines:
        return splits.split_lines(text, validation, arguments.seed)
    if vocabulary.level == "character":
        return splits.split(text, validation)
    # A word is not cut in two.
    ends = np.fromiter(map(len, vocabulary.tokens(text)), np.int64).cumsum()
    train_ends, _ = splits.split(ends, validation)
    cut = int(train_ends[-1]) if len(train_ends) else 0
    return text[:cut], text[cut:]
