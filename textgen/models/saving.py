"""Saving: one file contains the complete model, and it is never incomplete."""

import os
from pathlib import Path
from typing import Any


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

        The data are written to a temporary file in the same folder, which is then
        renamed. An interruption therefore leaves the old file intact.

        Args:
            filepath: str or path. Must end in `.keras`.
            overwrite: bool. Whether to replace an existing file. Defaults to `True`.
            **kwargs: As in `keras.Model.save`.

        Raises:
            ValueError: The name does not end in `.keras`.
            FileNotFoundError: The folder does not exist.
            FileExistsError: The file exists, and `overwrite` is `False`.
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
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.keras")
        try:
            super().save(temporary, **kwargs)  # type: ignore[misc]
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
