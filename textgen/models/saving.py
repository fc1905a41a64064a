"""One file is the whole model, and it is never half-written."""

import os
from pathlib import Path
from typing import Any


class OneFile:
    """Mixin of a `keras.Model` whose `save` leaves either the old file or the new."""

    def save(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        **kwargs: Any,
    ) -> None:
        """Saves everything into one `.keras` file; load it with `textgen.load`.

        The file is written beside its place and then renamed, so that an interruption
        leaves the old file whole.

        Raises:
            ValueError: The name does not end in `.keras`.
            FileNotFoundError: The folder does not exist.
            FileExistsError: The file exists, and `overwrite` is `False`.
        """
        path = Path(filepath)
        if path.suffix != ".keras":
            raise ValueError(f"The file name {path.name!r} must end in '.keras'.")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"There is no folder {path.parent} to save into.")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists already.")
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.keras")
        try:
            super().save(temporary, **kwargs)  # type: ignore[misc]
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
