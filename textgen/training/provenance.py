"""Where a model comes from: the notes that `textgen train` and the recipes store."""

import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from textgen.text import corpora, sources
from textgen.text.prepared import PreparedCorpus


def training_notes(
    corpus: str | Sequence[str],
    text: str | PreparedCorpus,
    seed: int,
    command: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Returns what is needed to repeat a training, for `model.notes`.

    Args:
        corpus: str or list of str, as for `textgen.load_corpus`: a name, a path, or
            several. The notes contain the names of files only, without their folders;
            of more than six, the first five and the number of the others.
        text: str, the text before it is converted to lower case; or `PreparedCorpus`.
        seed: int. The seed of the training.
        command: str or `None`. The command that started the training. Defaults to
            `None`: the command line of this Python program.
        **more: Further notes, such as `held_out_nats`, the loss on held-out text.

    Returns:
        A dict. `corpus_sha256` is the SHA-256 of the text in UTF-8: that of the file,
        if this is a UTF-8 file without a byte order mark, with `"\\n"` at the ends of
        the lines. `versions` contains the versions of textgen, Keras, its backend,
        NumPy and Python.

    Example:

    ```python
    model.notes = textgen.training_notes("poems.txt", text, seed=0)
    ```
    """
    backend = keras.backend.backend()
    versions = {
        name: str(getattr(sys.modules.get(name), "__version__", "unknown"))
        for name in ("textgen", "keras", backend, "numpy")
    }
    if command is None:
        command = shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])
    return {
        "corpus": sources.title(corpus),
        "corpus_sha256": (
            corpora.sha256_of_text(text) if isinstance(text, str) else text.sha256
        ),
        "seed": seed,
        "versions": {**versions, "python": platform.python_version()},
        "command": command,
        **more,
    }
