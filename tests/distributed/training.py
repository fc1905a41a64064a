"""A training script: `training.py FOLDER KIND…`; textgen launch runs it in processes.

For each kind of data, it writes the losses and the final weights to KIND.npz. With
SIGNAL=I:NAME in the environment, process I sends this signal to itself in the second
epoch.
"""

import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np

import textgen
from textgen import distribution

if "DIVIDE" in os.environ:
    textgen.use_all_devices(divide=int(os.environ["DIVIDE"]))

if "TEXTGEN_PROCESSES" in os.environ:  # as in a script for srun without the launcher
    textgen.distribute()

BATCH = 12  # divisible by 1, 2, 3 and 4, but the last batches are not

text = textgen.load_corpus("dinosaurs").lower()[:2000]
vocabulary = textgen.Vocabulary.from_text(text)
ids = vocabulary.encode(text)


class Signal(keras.callbacks.Callback):
    """Sends a signal to this process in the middle of an epoch."""

    def __init__(self, name):
        super().__init__()
        self.number = getattr(signal, name)

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == 40:
            os.kill(os.getpid(), self.number)


def dataset(kind):
    if kind == "windows":
        return textgen.WindowDataset(ids[:1000], 20, 3, batch_size=BATCH)
    if kind == "lines":
        return textgen.LineDataset(ids, vocabulary.ids["\n"], batch_size=BATCH)
    return textgen.SequenceDataset(ids, 16, BATCH, sampling="consecutive")


def train(folder, kind):
    keras.utils.set_random_seed(3)
    data = dataset(kind)
    options = {
        "windows": {"sequence_length": 20},
        "lines": {"embedding": 16, "layer_norm": True},
        "sequences": {"stateful": True, "batch_size": BATCH},
    }[kind]
    place, _, name = os.environ.get("SIGNAL", "").partition(":")
    resume = (folder / kind).exists() and not name
    checkpoints = textgen.Checkpoints(folder / kind, every=9, resume=resume)
    if resume:
        model = textgen.load(checkpoints.last)
    else:
        model = textgen.LanguageModel(
            vocabulary,
            units=24,
            dropout=0.2,
            return_sequences=kind != "windows",
            **options,
        )
        model.compile(
            keras.optimizers.SGD(0.5, momentum=0.9, global_clipnorm=1.0),
            metrics=["accuracy"],
        )
    callbacks = [checkpoints]
    if place == os.environ.get("TEXTGEN_PROCESS_ID", "0"):
        callbacks.insert(0, Signal(name))
    history = model.fit(
        data, epochs=4, validation_data=data, callbacks=callbacks, verbose=0
    )
    print(kind, "generated", model.generate(max_new_tokens=20, seed=0))
    if distribution.is_first():
        logs = {name: np.array(values) for name, values in history.history.items()}
        weights = {f"weight {i}": w for i, w in enumerate(model.get_weights())}
        np.savez(folder / f"{kind}.npz", **logs, **weights)


if __name__ == "__main__":
    for each in sys.argv[2:]:
        train(Path(sys.argv[1]), each)
