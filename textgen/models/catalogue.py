"""The pretrained models by name: the index, the files and their check.

The package `textgen.pretrained` holds `NAME.keras` and its card `NAME.md` for each
model, and `index.json`, which `benchmarks/pretrained.py` writes with the measured
numbers.
"""

import dataclasses
import functools
import json
import os
import re
from pathlib import Path
from typing import Any

from textgen import files
from textgen.messages import printable
from textgen.text import corpora

_INDEX_BYTES = 1 << 20
_NAME = re.compile("[a-z0-9][a-z0-9-]{0,99}")
_SHA256 = re.compile("[0-9a-f]{64}")


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

    @property
    def prompt(self) -> str:
        """The recommended beginning, as the command line takes it; may be empty."""
        options = self.options
        return options[options.index("--prompt") + 1] if "--prompt" in options else ""


PRETRAINED: dict[str, Pretrained]  # read by `__getattr__` when it is first used


def __getattr__(name: str) -> Any:
    if name == "PRETRAINED":
        return _read_index()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@functools.cache
def _read_index() -> dict[str, Pretrained]:
    path = _folder() / "index.json"
    try:
        with files.open_regular(path) as file:
            data = file.read(_INDEX_BYTES + 1)
        if len(data) > _INDEX_BYTES:
            raise ValueError(f"it has more than {_INDEX_BYTES:,} bytes")
        index = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
        if type(index) is not dict or not index:
            raise ValueError("it has no models")
        return {name: _entry(name, fields) for name, fields in index.items()}
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path} does not exist. Install textgen again."
        ) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged: {printable(error, 150)}. Install textgen again."
        ) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name is there twice")
    return dict(pairs)


def _entry(name: str, fields: Any) -> Pretrained:
    """Returns an entry of the index; raises ValueError if a field is not valid."""
    quoted = printable(repr(name), 40)
    if not _NAME.fullmatch(name):  # it becomes the name of a file
        raise ValueError(f"the name {quoted} is not valid")
    expected = {field.name for field in dataclasses.fields(Pretrained)}
    if type(fields) is not dict or set(fields) != expected:
        raise ValueError(f"{quoted} must have the fields {', '.join(sorted(expected))}")
    options = fields["options"]
    texts = [fields[key] for key in ("description", "corpus", "training")]
    if type(options) is not list or not all(map(_is_text, [*texts, *options])):
        raise ValueError(f"{quoted} has a field that is not a text")
    if type(fields["nats"]) is not float or not 0 < fields["nats"] < 100:
        raise ValueError(f"{quoted} has a cross-entropy that is not possible")
    if type(fields["sha256"]) is not str or not _SHA256.fullmatch(fields["sha256"]):
        raise ValueError(f"{quoted} has a SHA-256 that is not valid")
    return Pretrained(**{**fields, "options": tuple(options)})


def _is_text(value: Any) -> bool:
    return type(value) is str and value.isprintable() and len(value) <= 1000


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
        ValueError: The SHA-256 of a pretrained model is not the registered one, or the
            index is damaged.
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
