"""How `fit`, `evaluate` and `predict` read their data."""

from typing import Any

import keras
import numpy as np

from textgen.batches import Batches, Dataset, Feed, View


class EpochBegin(keras.callbacks.Callback):
    """Selects the batches of each epoch, and resets the carried state."""

    dataset: Dataset | None = None
    feed: Feed | None = None
    passes = 0

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

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Sets the position in the dataset; Keras calls this method."""
        new_pass = True
        if self.dataset is not None and self.feed is not None:
            length = len(self.dataset)
            self.feed.first = self.passes * length + epoch * len(self.feed)
            self.dataset.set_epoch(self.feed.first // length)
            new_pass = self.feed.first % length == 0
        if new_pass and self.model.reset_policy == "epoch":
            self.model.reset_state()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Moves the dataset to the next pass; Keras calls this method."""
        if self.dataset is not None and self.feed is not None:
            # A started pass counts as read.
            read = self.feed.first + len(self.feed)
            self.dataset.set_epoch(-(-read // len(self.dataset)))


def fixed_order(x: Any) -> Any:
    """Returns a dataset in the order of its first epoch; other data unchanged."""
    return View(x, 0) if isinstance(x, Dataset) else x


def text_order(x: Any) -> Any:
    """Returns a dataset in the order of its text; other data unchanged."""
    return View(x, None) if isinstance(x, Dataset) else x


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
    callbacks = keras.tree.flatten(given) if given else []
    bars = keras.callbacks.ProgbarLogger
    if verbose and not any(isinstance(each, bars) for each in callbacks):
        # As the first callback, the bar is complete before another one prints.
        callbacks.insert(0, bars())
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
