"""How `fit`, `evaluate` and `predict` read their data."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from textgen.batches import ArrayDataset, Batches, Dataset, Feed, View
from textgen.training.callbacks import SampleText
from textgen.training.progress import Bar, Progress
from textgen.training.training_log import TrainingLog
from textgen.training.training_state import checksum


class EpochBegin(keras.callbacks.Callback):
    """Selects the batches of each epoch, and resets the carried state."""

    dataset: Dataset | None = None
    feed: Feed | None = None
    passes = 0
    skipped = 0  # batches of the first epoch that a resumed training has read
    _checksum: int | None = None

    @classmethod
    def of_dataset(
        cls,
        dataset: Dataset,
        steps_per_epoch: int | None,
        initial_epoch: int,
        stateful: bool,
    ) -> "EpochBegin":
        """Returns the callback for a dataset; Keras must read its `feed`.

        Raises:
            ValueError: The model is stateful, and an epoch would cross the end of a
                pass.
        """
        self = cls()
        self.dataset = dataset
        self.feed = Feed(dataset, steps_per_epoch or len(dataset))
        number, part = len(dataset), len(self.feed)
        if stateful and number % part and part % number:
            raise ValueError(
                f"steps_per_epoch={steps_per_epoch} must be a divisor or a multiple of "
                f"the {number} batches of the dataset: a stateful model starts from "
                "zero after each pass."
            )
        # A new `fit` continues at the dataset's position; a resumed one counts from 0.
        self.passes = dataset.next_epoch if initial_epoch == 0 else 0
        return self

    def facts(self) -> dict[str, Any] | None:
        """Returns what describes the data, for a checkpoint: JSON values."""
        if self.dataset is None or self.feed is None:
            return None
        if self._checksum is None:
            self._checksum = checksum(self.dataset.batch(0, None))
        return {
            "passes": self.passes,
            "batches": len(self.dataset),
            "part": len(self.feed),
            "seed": self.dataset.seed,
            "checksum": self._checksum,
        }

    def resume(self, facts: dict[str, Any] | None, step: int) -> None:
        """Continues the epoch of a checkpoint after `step` batches.

        Raises:
            ValueError: The checkpoint is in the middle of an epoch of other data.
        """
        now = self.facts()
        if step:
            names = ("batches", "part", "seed", "checksum")
            old = {name: (facts or {}).get(name) for name in names}
            new = {name: (now or {}).get(name) for name in names}
            if old != new:
                raise ValueError(
                    f"The training stopped within an epoch, after {step} of "
                    f"{old['part']} batches, and continues there only with the same "
                    "data, batch_size, seed and steps_per_epoch: "
                    + ", ".join(
                        f"{name} was {old[name]} and is {new[name]}"
                        for name in names
                        if old[name] != new[name]
                    )
                    + "."
                )
        if facts is not None:
            self.passes = facts["passes"]
        self.skipped = step

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Sets the position in the dataset; Keras calls this method."""
        new_pass = True
        skipped, self.skipped = self.skipped, 0
        if self.dataset is not None and self.feed is not None:
            length = len(self.dataset)
            self.feed.first = self.passes * length + epoch * len(self.feed)
            self.feed.skipped = skipped
            self.dataset.set_epoch(self.feed.first // length)
            new_pass = self.feed.first % length == 0
        if new_pass and not skipped and self.model.reset_policy == "epoch":
            self.model.reset_state()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Moves the dataset to the next pass; Keras calls this method."""
        if self.dataset is not None and self.feed is not None:
            # A started pass counts as read.
            read = self.feed.first + len(self.feed)
            self.dataset.set_epoch(-(-read // len(self.dataset)))


def with_dataset(arguments: dict[str, Any], seed: int) -> dict[str, Any]:
    """Replaces the arrays of `fit` by a dataset, whose order is reproducible.

    Args:
        arguments: Arguments of `fit`.
        seed: int. Seed of the order.

    Returns:
        The arguments that change: none if the data are not arrays.

    Raises:
        ValueError: `validation_split` leaves no example for one of the two parts.
    """
    names = ("x", "y", "sample_weight")
    given = [arguments[name] for name in names if arguments[name] is not None]
    if arguments["x"] is None or (arguments["y"] is None and len(given) > 1):
        return {}
    if not all(hasattr(e, "__array__") and hasattr(e, "shape") for e in given):
        return {}
    arrays = [
        ops.convert_to_numpy(each) if ops.is_tensor(each) else np.asarray(each)
        for each in given
    ]
    if not all(array.ndim for array in arrays):
        return {}
    changed: dict[str, Any] = {"y": None, "sample_weight": None, "batch_size": None}
    if (split := arguments["validation_split"]) and not arguments["validation_data"]:
        size = len(arrays[0])
        kept = math.floor(size * (1.0 - split))
        if not 0 < kept < size:
            raise ValueError(
                f"validation_split={split} leaves {kept} of {size} examples for the "
                "training: use more data, or another value, so that both parts have "
                "examples."
            )
        changed["validation_data"] = tuple(array[kept:] for array in arrays)
        changed["validation_split"] = 0.0
        arrays = [array[:kept] for array in arrays]
    size = arguments["batch_size"] or 32
    changed["x"] = ArrayDataset(arrays, size, bool(arguments["shuffle"]), seed)
    return changed


def fixed_order(x: Any) -> Any:
    """Returns a dataset in the order of its first epoch; other data unchanged."""
    return View(x, 0) if isinstance(x, Dataset) else x


def text_order(x: Any) -> Any:
    """Returns a dataset in the order of its text; other data unchanged."""
    return View(x, None) if isinstance(x, Dataset) else x


_WRITING = (
    *(keras.callbacks.BackupAndRestore, keras.callbacks.CSVLogger),
    *(keras.callbacks.ModelCheckpoint, keras.callbacks.RemoteMonitor),
    *(keras.callbacks.ProgbarLogger, keras.callbacks.TensorBoard),
    *(SampleText, TrainingLog),
)


def leave_out_writing(arguments: dict[str, Any]) -> None:
    """Removes what process 0 alone does: progress, logs, samples and files of Keras.

    Args:
        arguments: Arguments of `fit`; changed in place.
    """
    given = arguments["callbacks"]
    kept: Any = [each for each in flat(given) if not isinstance(each, _WRITING)]
    if isinstance(given, keras.callbacks.CallbackList):
        given.callbacks, kept = kept, given
    arguments.update(callbacks=kept, verbose=0)


def close(callbacks: list) -> None:
    """Ends what callbacks show, also if `fit` has not ended in order."""
    for callback in callbacks:
        if isinstance(callback, Progress):
            callback.close()


def flat(callbacks: Any) -> list:
    """Returns the argument `callbacks` of `fit` as a new list."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return list(callbacks.callbacks)
    return keras.tree.flatten(callbacks) if callbacks else []


def with_callbacks(
    given: Any, begin: EpochBegin | None, model: keras.Model, verbose: bool
) -> Any:
    """Returns the callbacks of `fit`: textgen's own, followed by the given ones.

    Args:
        given: The argument `callbacks` of `fit`.
        begin: `EpochBegin` or `None`.
        model: The model that is trained.
        verbose: bool. Whether a progress bar is shown.
    """
    if isinstance(given, keras.callbacks.CallbackList):
        if begin is not None:
            begin.set_model(model)
            given.callbacks.insert(0, begin)
        return given
    callbacks = flat(given)
    bars = keras.callbacks.ProgbarLogger
    if verbose and not any(isinstance(each, bars) for each in callbacks):
        # As the first callback, the bar is complete before another one prints.
        callbacks.insert(0, Bar())
    return callbacks if begin is None else [begin, *callbacks]


def batch_shape(x: Any, batch_size: int | None) -> tuple[int | None, int | None]:
    """Returns rows and steps of the batches of an input of `fit`.

    An unknown value is `None`: no batch of an iterator is read, because `fit` would
    then miss this batch.
    """
    if isinstance(x, Batches):
        return x.largest_batch, x.steps
    if isinstance(x, keras.utils.PyDataset):
        x = x[0]
        x = x[0] if isinstance(x, tuple) else x
        return tuple(np.shape(x))[:2]
    if (spec := getattr(x, "element_spec", None)) is not None:  # tf.data
        shape = keras.tree.flatten(spec)[0].shape
        return tuple(shape)[:2] if shape.rank and shape.rank > 1 else (None, None)
    shape = (*getattr(x, "shape", ()), None, None)
    return (None if shape[0] is None else min(batch_size or 32, shape[0])), shape[1]
