"""How `fit`, `evaluate` and `predict` read their data."""

from typing import Any

import keras
import numpy as np

from textgen.batches import Batches, Dataset, Feed, View


class EpochBegin(keras.callbacks.Callback):
    """Has the data go on where the epoch begins, and resets carried states."""

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
        """Returns the callback for a dataset; its `feed` is what Keras is to read.

        Raises:
            ValueError: An epoch would cross the end of a pass of a stateful model.
        """
        self = cls()
        self.dataset = dataset
        self.feed = Feed(dataset, steps_per_epoch or len(dataset))
        number, part = len(dataset), len(self.feed)
        if stateful and number % part and part % number:
            raise ValueError(
                f"steps_per_epoch={steps_per_epoch} of a dataset of {number} batches: "
                "an epoch would cross the end of a pass, where a stateful model begins "
                "anew. Use a divisor or a multiple."
            )
        # A fit from epoch 0 goes on where the dataset is; a resumed one counts from 0.
        self.passes = dataset.next_epoch if initial_epoch == 0 else 0
        return self

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Called by Keras before each epoch."""
        whole_pass = True
        if self.dataset is not None and self.feed is not None:
            length = len(self.dataset)
            self.feed.first = self.passes * length + epoch * len(self.feed)
            self.dataset.set_epoch(self.feed.first // length)
            whole_pass = self.feed.first % length == 0
        if whole_pass and self.model.reset_policy == "epoch":
            self.model.reset_state()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Called by Keras after each epoch."""
        if self.dataset is not None and self.feed is not None:
            # A pass that was begun counts.
            read = self.feed.first + len(self.feed)
            self.dataset.set_epoch(-(-read // len(self.dataset)))


def fixed_order(x: Any) -> Any:
    """A dataset in the order of its first epoch; other data as they are."""
    return View(x, 0) if isinstance(x, Dataset) else x


def text_order(x: Any) -> Any:
    """A dataset in the order of its text; other data as they are."""
    return View(x, None) if isinstance(x, Dataset) else x


def with_callbacks(
    given: Any, begin: EpochBegin | None, model: keras.Model, verbose: bool
) -> Any:
    """Returns the callbacks of `fit`: those given, and before them our own.

    Args:
        given: What the user gave to `fit`.
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
        # First in the list, the bar is complete before a callback prints.
        callbacks.insert(0, bars())
    return callbacks if begin is None else [begin, *callbacks]


def batch_shape(x: Any, batch_size: int | None) -> tuple[int | None, int | None]:
    """Rows and steps of the batches of an input of `fit`; `None` where not known.

    No batch is read for it, since reading one can mean to lose it.
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
