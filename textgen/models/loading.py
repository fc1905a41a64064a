"""Loading models by path or by name."""

import os
import zipfile
from typing import Any

import keras

from textgen.decoding.writer import Writer

# The imports register the classes of saved models.
from textgen.models import catalogue, keras_writer, language_model  # noqa: F401


def load(path: str | os.PathLike[str]) -> Any:
    """Loads a saved or pretrained model, for generation or further training.

    Args:
        path: str or path of a `.keras` file, or a name in `textgen.PRETRAINED`.

    Returns:
        The `LanguageModel` or the model that `textgen.from_keras` returned, with its
        vocabulary and the state of its optimizer.

    Raises:
        FileNotFoundError: No file and no pretrained model has this name.
        ValueError: The file does not contain a textgen model, or the file of a
            pretrained model was changed after its installation.

    Example:

    ```python
    print(textgen.load("shakespeare").generate("shall i compare ", max_lines=4))
    ```
    """
    path = catalogue.find(path)
    if path.name.endswith(".weights.h5"):
        raise ValueError(
            f"{path} contains weights only, as written by Keras's save_weights: create "
            "the model with the same arguments, and call model.load_weights(path)."
        )
    if path.suffix in (".h5", ".hdf5"):
        raise ValueError(
            f"{path} is a model of an older Keras version: convert it to a .keras file "
            "with textgen.models.legacy.convert (command line: textgen convert)."
        )
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is not a .keras file, or it is damaged: pass a file written by "
            "model.save."
        )
    try:
        model = keras.saving.load_model(path)
    except Exception as error:
        # Keras raises many types of errors: of zip files, HDF5, JSON and its classes.
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{path} could not be loaded: {reason}") from error
    if not isinstance(model, Writer):
        raise ValueError(
            f"{path} contains a {type(model).__name__}, which has no vocabulary: load "
            "it with Keras, and add a vocabulary with textgen.from_keras."
        )
    return model
