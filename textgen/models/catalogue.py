"""The pretrained models, by name: which there are, where they lie, and a check.

The package `textgen.pretrained` holds `NAME.keras`, its card `NAME.md`, and
`index.json`, which `benchmarks/pretrained.py` writes with the measured numbers.
"""

import dataclasses
import importlib.resources
import json
import os
from pathlib import Path

from textgen.text import corpora

_FOLDER = Path(str(importlib.resources.files("textgen.pretrained")))


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A pretrained model.

    Args:
        description: str. What it writes.
        corpus: str. The name, in `textgen.CORPORA`, of what it was trained on.
        nats: float. Its mean cross-entropy on the held-out part of the corpus, in
            nats a character; the card says which part that is.
        training: str. How long the training took, and where.
        sha256: str. SHA-256 of the file, in hexadecimal.
        options: tuple of str. What to give to `textgen generate` after its name.
    """

    description: str
    corpus: str
    nats: float
    training: str
    sha256: str
    options: tuple[str, ...]


def _read_index() -> dict[str, Pretrained]:
    index = json.loads((_FOLDER / "index.json").read_text(encoding="utf-8"))
    return {
        name: Pretrained(**{**entry, "options": tuple(entry["options"])})
        for name, entry in index.items()
    }


PRETRAINED: dict[str, Pretrained] = _read_index()


def path_of(name: str) -> Path:
    """Returns the path of a pretrained model, unchecked."""
    return _FOLDER / f"{name}.keras"


def find(name_or_path: str | os.PathLike[str]) -> Path:
    """Returns the path of a model file.

    Args:
        name_or_path: str or path. A name of `textgen.PRETRAINED`, or the path of a
            file.

    Returns:
        path. It exists; a pretrained model has its registered SHA-256.

    Raises:
        FileNotFoundError: There is no such file or name; the message names the
            nearest known ones.
        ValueError: The file of a pretrained model is not the registered one.
    """
    name = os.fspath(name_or_path)
    if name not in PRETRAINED:
        path = Path(name)
        if name and path.exists():
            return path
        raise FileNotFoundError(
            f"There is no model file {name}, nor a pretrained model of that name. "
            + corpora.suggestion(name, PRETRAINED)
        )
    path = path_of(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"The pretrained model {name} is not installed: there is no {path}. "
            "Install textgen again."
        )
    found = corpora.sha256_of(path)
    if found != PRETRAINED[name].sha256:
        raise ValueError(
            f"{path} is damaged: its SHA-256 is {found}, not "
            f"{PRETRAINED[name].sha256}. Install textgen again."
        )
    return path
