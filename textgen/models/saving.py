"""Saving: one file contains the complete model, and it is never incomplete."""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from textgen import distribution, keras_internals, model_file
from textgen.messages import printable
from textgen.models import allowed, configuration


class OneFile:
    """Mixin of a `keras.Model` that saves one file, and replaces it in one step."""

    @property
    def notes(self) -> dict[str, Any]:
        """Additional information about the model, which is saved in its file.

        Keys are str, values are JSON values. `textgen train` stores the corpus, its
        encoding and the held-out loss; `textgen info` shows all notes.
        """
        return self.__dict__.setdefault("_notes", {})

    @notes.setter
    def notes(self, notes: dict[str, Any]) -> None:
        # A plain dict: Keras's `__setattr__` passes a tracked dict to this method.
        self.__dict__["_notes"] = dict(notes)

    def save(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        **kwargs: Any,
    ) -> None:
        """Saves the complete model in one `.keras` file; load it with `textgen.load`.

        The file is complete or unchanged, also after an interruption or a full disk;
        see `textgen.files.replacing`.

        Args:
            filepath: str or path. Must end in `.keras`.
            overwrite: bool. Whether to replace an existing file. Defaults to `True`.
            **kwargs: `zipped=True`, as in `keras.Model.save`.

        Raises:
            ValueError: The name does not end in `.keras`, or `zipped` is `False`.
            FileNotFoundError: The folder does not exist.
            FileExistsError: The file exists, and `overwrite` is `False`.
            OSError: The file cannot be written.
        """
        path = Path(filepath)
        if path.suffix != ".keras":
            raise ValueError(f"The file name {path.name!r} must end in '.keras'.")
        if not path.parent.is_dir():
            raise FileNotFoundError(
                f"The folder {path.parent} does not exist: create it first."
            )
        if path.exists() and not overwrite:
            raise FileExistsError(
                f"{path} already exists: pass overwrite=True to replace it."
            )
        if kwargs.pop("zipped", None) not in (None, True) or kwargs:
            raise ValueError(
                "save writes a .keras file; omit zipped and other options."
            )
        if distribution.is_first():
            self.write(path)

    def write(
        self,
        path: str | os.PathLike[str],
        training: Any = None,
        arrays: dict[str, np.ndarray] | None = None,
    ) -> None:
        """Writes the model file, and optionally the state of a training into it.

        `textgen.load` loads the model; `textgen.model_file.read_training` reads the
        state. SHA-256 checksums cover both.

        Args:
            path: str or path. Its folder must exist; the name may end in anything.
            training: JSON value or `None`. State of a training. Defaults to `None`.
            arrays: dict of name and array, or `None`. Arrays of this state; a name may
                contain slashes. Defaults to `None`.

        Raises:
            OSError: The file cannot be written. An old file is unchanged.
            ValueError: There are `arrays` but no `training`.
        """
        write_model(self, path, training, arrays)


def write_model(
    model: Any,
    path: str | os.PathLike[str],
    training: Any = None,
    arrays: dict[str, np.ndarray] | None = None,
) -> None:
    """Writes the file of a model; arguments and errors as for `OneFile.write`.

    Warns:
        UserWarning: `textgen.load` will refuse the file. It is written nevertheless.
    """
    config = keras_internals.serialized(model)
    with distribution.alone(model):  # the other processes do not save
        weights = keras_internals.saved_state(model)
    if reason := _refusal(config, weights):
        warnings.warn(
            f"{path} is saved, but textgen.load will refuse it: {reason}.", stacklevel=3
        )
    versions = {
        "keras_version": keras.version(),
        "textgen_version": sys.modules["textgen"].__version__,
    }
    model_file.write(
        path,
        config,
        weights,
        versions,
        training,
        arrays,
    )


def _refusal(config: dict[str, Any], weights: dict[str, np.ndarray]) -> str | None:
    """Returns why `textgen.load` will refuse a model, or `None`."""
    for path, value in weights.items():
        if value.dtype.kind in "fV" and not np.isfinite(value).all():
            return f"the array {path!r} has values that are not finite"
    config = json.loads(json.dumps(config))
    try:
        configuration.check(config, allowed.LIMITS, complete=True)
        configuration.check_compilation(config.get("compile_config"), allowed.LIMITS)
    except configuration.UnknownCodeError:
        return None  # it loads uncompiled
    except ValueError as error:
        return printable(error)
    return None
