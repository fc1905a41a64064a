"""Measures what checkpoints cost: a training with them, and the same one without.

    python benchmarks/checkpoints.py

Three trainings: windows, names (whose epochs take less than a second), and a model of
3 million weights. Each runs for SECONDS seconds with `textgen.Checkpoints` at its
default interval. Two numbers are reported: the share of the time that is spent in the
callback, and the time per step relative to trainings without checkpoints that run in
turns with the others (medians). The first one is exact; the second one includes
everything, and the noise of the machine. Writes benchmark-checkpoints.json.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import textgen
from textgen.backend import available_cores

ROUNDS, SECONDS = 3, 40.0


def windows() -> tuple[Any, Any]:
    """Returns the model and the dataset of the courses: 40 characters, stride 3."""
    vocabulary = textgen.Vocabulary.from_text("abcdefghijklmnopqrstuvwxyz .,\n")
    ids = np.random.default_rng(0).integers(0, len(vocabulary), 10**6).astype(np.int8)
    return textgen.LanguageModel(vocabulary), textgen.WindowDataset(ids)


def names() -> tuple[Any, Any]:
    """Returns the model and the dataset of the recipe `dinosaurs`."""
    text = textgen.load_corpus("dinosaurs", lowercase=True)
    vocabulary = textgen.Vocabulary.from_text(text)
    model = textgen.LanguageModel(
        vocabulary, cell="gru", units=(128, 128), dropout=0.4, return_sequences=True
    )
    ids = vocabulary.encode(text)
    return model, textgen.LineDataset(ids, vocabulary.ids["\n"], batch_size=16)


def large() -> tuple[Any, Any]:
    """Returns a model of 3.4 million weights and its dataset."""
    vocabulary = textgen.Vocabulary.from_text("abcdefghijklmnopqrstuvwxyz .,\n")
    ids = np.random.default_rng(0).integers(0, len(vocabulary), 10**6).astype(np.int8)
    model = textgen.LanguageModel(vocabulary, units=(512, 512), return_sequences=True)
    return model, textgen.SequenceDataset(ids, 64, batch_size=32)


class Clock(keras.callbacks.Callback):
    """Ends the training after SECONDS, and counts its steps."""

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts the clock; Keras calls this method."""
        self.start, self.steps = time.perf_counter(), 0

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Counts a step; Keras calls this method."""
        self.steps += 1
        if time.perf_counter() - self.start > SECONDS:
            self.model.stop_training = True


class TimedCheckpoints(textgen.Checkpoints):
    """Checkpoints that measure the time spent in them, in seconds."""

    seconds = 0.0


def _timed(name: str) -> Callable:
    def method(self: Any, *args: Any, **kwargs: Any) -> None:
        start = time.perf_counter()
        getattr(textgen.Checkpoints, name)(self, *args, **kwargs)
        self.seconds += time.perf_counter() - start

    return method


for _name in dir(keras.callbacks.Callback):
    if _name.startswith("on_") and _name in vars(textgen.Checkpoints):
        setattr(TimedCheckpoints, _name, _timed(_name))


def train(make: Callable, with_checkpoints: bool) -> dict:
    """Trains a new model for SECONDS; returns milliseconds per step and the share."""
    keras.utils.clear_session()
    model, data = make()
    model.compile(keras.optimizers.Adam(1e-3, clipvalue=5.0))
    model.fit(data, steps_per_epoch=3, verbose=0)  # compiles the step
    clock, callbacks = Clock(), []
    with tempfile.TemporaryDirectory() as folder:
        if with_checkpoints:
            callbacks = [TimedCheckpoints(Path(folder, "states"))]
        model.fit(data, epochs=10_000, callbacks=[clock, *callbacks], verbose=0)
        elapsed = time.perf_counter() - clock.start
    return {
        "milliseconds per step": 1000 * elapsed / clock.steps,
        "share": sum(each.seconds for each in callbacks) / elapsed,
    }


def main() -> None:
    """Runs the benchmark."""
    results: dict[str, Any] = {
        "machine": f"{platform.machine()}, {available_cores()} cores"
    }
    for make in (windows, names, large):
        runs: dict[bool, list[dict]] = {True: [], False: []}
        for _ in range(ROUNDS):
            for choice in (False, True):
                runs[choice].append(train(make, choice))
        without, with_ = (
            statistics.median(run["milliseconds per step"] for run in runs[choice])
            for choice in (False, True)
        )
        share = statistics.median(run["share"] for run in runs[True])
        results[make.__name__] = {"share": share, "ratio": with_ / without}
        print(
            f"{make.__name__}: {share:.2%} of the time in Checkpoints; {with_:.2f} ms "
            f"per step with, {without:.2f} without: {with_ / without:.3f} times",
            flush=True,
        )
    Path("benchmark-checkpoints.json").write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
