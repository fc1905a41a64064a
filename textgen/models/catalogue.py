"""The pretrained models by name: the index, the files and their check.

The package `textgen.pretrained` holds `NAME.keras` and its card `NAME.md` for each
model, and `index.json`, which `benchmarks/pretrained.py` writes with the measured
numbers.
"""

import dataclasses
import functools
import json
import os
from pathlib import Path
from typing import Any

from textgen.text import corpora


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A pretrained model.

    Args:
        description: str. The kind of text that it generates.
        corpus: str. Name of the training corpus in `textgen.CORPORA`.
        nats: float. Mean cross-entropy on the held-out part of the corpus, in nats per
            character; the card describes this part.
        training: str. Duration and machine of the training.
        sha256: str. SHA-256 of the file, in hexadecimal.
        options: tuple of str. Recommended options of `textgen generate`.
    """

    description: str
    corpus: str
    nats: float
    training: str
    sha256: str
    options: tuple[str, ...]


PRETRAINED: dict[str, Pretrained]  # read by `__getattr__` when it is first used


def __getattr__(name: str) -> Any:
    if name == "PRETRAINED":
        return _read_index()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _read_index() -> dict[str, Pretrained]:
    index = json.loads((_folder() / "index.json").read_text(encoding="utf-8"))
    return {
        name: Pretrained(**{**entry, "options": tuple(entry["options"])})
        for name, entry in index.items()
    }


def _folder() -> Path:
    return corpora.package_folder("textgen.pretrained")


def path_of(name: str) -> Path:
    """Returns the path of a pretrained model; the file is not checked."""
    return _folder() / f"{name}.keras"


def find(name_or_path: str | os.PathLike[str]) -> Path:
    """Returns the path of a model file.

    Args:
        name_or_path: str or path. A name of `textgen.PRETRAINED`, or the path of a
            file.

    Returns:
        Path of an existing file. The file of a pretrained model has its registered
        SHA-256.

    Raises:
        FileNotFoundError: The file or name does not exist (the message suggests
            similar names), or textgen is not installed.
        ValueError: The SHA-256 of a pretrained model is not the registered one.
    """
    name, pretrained = os.fspath(name_or_path), _read_index()
    if name not in pretrained:
        path = Path(name)
        if name and path.exists():
            return path
        raise FileNotFoundError(
            f"{name!r} is neither an existing model file nor the name of a pretrained "
            "model. " + corpora.suggestion(name, pretrained)
        )
    path = path_of(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"The pretrained model {name} is not installed: {path} does not exist. "
            "Install textgen again."
        )
    found = corpora.sha256_of(path)
    if found != pretrained[name].sha256:
        raise ValueError(
            f"{path} is damaged: its SHA-256 is {found}, not "
            f"{pretrained[name].sha256}. Install textgen again."
        )
    return path
