"""Loads a model by path or by name."""

import os
import zipfile
from typing import Any

import keras

from textgen.decoding.writer import Writer

# Both register the classes that a file may hold.
from textgen.models import catalogue, keras_writer, language_model  # noqa: F401


def load(path: str | os.PathLike[str]) -> Any:
    """Loads a model that `save` wrote, or a pretrained one, to write or train on.

    Args:
        path: str or path of a `.keras` file, or a name of `textgen.PRETRAINED`.

    Returns:
        The `LanguageModel`, or what `LanguageModel.from_keras` made, with its
        vocabulary and its optimizer's state.

    Raises:
        FileNotFoundError: There is no such file or name.
        ValueError: The file does not hold such a model, or the file of a pretrained
            model is not the one that was installed.

    Example:

    ```python
    print(textgen.load("shakespeare").generate("shall i compare ", max_lines=4))
    ```
    """
    path = catalogue.find(path)
    if path.name.endswith(".weights.h5"):
        raise ValueError(
            f"{path} holds weights alone, as save_weights of Keras wrote them: make "
            "the model with the same arguments, and call model.load_weights(path)."
        )
    if path.suffix in (".h5", ".hdf5"):
        raise ValueError(
            f"{path} is a model of an older Keras: make a .keras file of it with "
            "textgen.models.legacy.convert (textgen convert on the command line)."
        )
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not a .keras file, or it is damaged.")
    try:
        model = keras.saving.load_model(path)
    except Exception as error:
        # Keras raises many types here: from zip files, HDF5, JSON and its own classes.
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{path} could not be loaded: {reason}") from error
    if not isinstance(model, Writer):
        raise ValueError(
            f"{path} holds a {type(model).__name__}, which has no vocabulary; load it "
            "with Keras, and give it one with textgen.LanguageModel.from_keras."
        )
    return model
