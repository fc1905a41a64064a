"""Base classes of the datasets: batches of ids in a reproducible order.

`Dataset` is the base class of the datasets. The order of its batches depends on a seed
and an epoch only. `fit`, `evaluate` and `predict` read it as a `View` or a `Feed`.

Names of dimensions: N examples in a batch, T steps.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from textgen import keras_internals
from textgen.distribution import Share, share
from textgen.permutation import permute

PREFETCHED = 8  # batches that TensorFlow reads ahead


class Batches(keras.utils.PyDataset, keras_internals.DataAdapter):
    """Base class of batches of ids that Keras reads in the given order.

    By default, `fit` shuffles the batches of a `PyDataset`, which would separate
    batches that continue each other. Keras reads a `DataAdapter` without shuffling, so
    this class inherits from both.

    Subclasses implement `__len__`, `__iter__` (one pass) and the properties.
    """

    # `DataAdapter` defines this as a property without a setter.
    batch_size: int | None = None

    @property
    def steps(self) -> int | None:
        """Number of steps of the inputs; `None` if it differs between batches."""
        raise NotImplementedError

    @property
    def mean_steps(self) -> float | None:
        """Mean number of steps of the batches; `None` if it is not known."""
        return self.steps

    @property
    def few_lengths(self) -> bool:
        """Whether `steps` has only a few values, so that compiling for each pays."""
        return self.steps is not None

    @property
    def target_steps(self) -> tuple:
        """Shape of the targets without the batch axis."""
        return (self.steps,)

    @property
    def largest_batch(self) -> int:
        """Maximum number of examples in a batch."""
        raise NotImplementedError

    @property
    def signature(self) -> tuple[tuple[tuple, str], ...]:
        """Shape, without the batch axis, and dtype of each array of a batch."""
        return ((self.steps,), "int32"), (self.target_steps, "int32")

    def get_numpy_iterator(self) -> Iterator:
        """Called by Keras; returns an iterator over one pass."""
        return iter(self)

    get_jax_iterator = get_numpy_iterator

    def get_torch_dataloader(self) -> Any:
        """Called by Keras; returns a loader of one pass."""
        return keras_internals.torch_dataloader(self)

    def get_tf_dataset(self) -> Any:
        """Called by Keras; returns a `tf.data.Dataset` of one pass."""
        import tensorflow as tf

        spec = tuple(
            tf.TensorSpec((None, *shape), dtype) for shape, dtype in self.signature
        )
        # The generator starts when the first batch is requested, so that a pass that
        # is never read does not count as an epoch.
        dataset = tf.data.Dataset.from_generator(
            lambda: iter(self), output_signature=spec
        )
        # The end of an iterator waits for the thread that would tune the number of
        # prefetched batches: up to a minute after Ctrl-C.
        options = tf.data.Options()
        options.autotune.enabled = False
        return dataset.prefetch(PREFETCHED).with_options(options)


class Dataset(Batches):
    """Base class of datasets whose order depends on `seed` and `epoch` only.

    An epoch is one pass over the batches. Each iteration starts the next epoch, both
    in `fit` and in your own loop. Keras does not apply `class_weight` to a dataset of
    this type; textgen's models apply it themselves.

    Subclasses implement `__len__`, `steps`, and `batch` or `plan` and `examples`.

    Args:
        ids: integer array of shape `(tokens,)`, as `Vocabulary.encode` returns it, or
            a memory map. It is not copied.
        batch_size: int. Number of examples in a batch.
        seed: int. Seed of the order.

    Raises:
        ValueError: An argument is out of range, or there are too few ids.
    """

    # Whether each example begins with a start step (id -1), and the id that ends it.
    start_step = False
    end_of_line: Any = None  # int or None

    def __init__(self, ids: np.ndarray, batch_size: int, seed: int) -> None:
        super().__init__()
        self.ids = as_ids(ids)
        self._set_order(batch_size, seed)

    def _set_order(self, batch_size: int, seed: int) -> None:
        check_integers(1, batch_size=batch_size)
        check_integers(0, seed=seed)
        self.batch_size: int = batch_size
        self.seed = seed
        self.epoch = 0
        self._started = False

    def __repr__(self) -> str:
        steps = "" if self.steps is None else f" of {self.steps} steps"
        return (
            f"{type(self).__name__}({len(self.ids):,} ids: {len(self):,} batches of up "
            f"to {self.largest_batch} examples{steps})"
        )

    def batch(self, index: int, epoch: int | None) -> tuple[np.ndarray, ...]:
        """Returns one batch.

        Args:
            index: int. Number of the batch in the epoch, counted from 0.
            epoch: int, or `None` for the order of the text.

        Returns:
            `x` and `y`, as the dataset yields them.
        """
        return self.examples(*self.plan(index, epoch))

    def part(
        self, index: int, epoch: int | None, share: Share | None
    ) -> tuple[np.ndarray, ...]:
        """Returns the rows of a batch that one of several processes reads."""
        if share is None:
            return self.batch(index, epoch)
        if type(self).batch is not Dataset.batch:
            whole = self.batch(index, epoch)
            return share.fill_up([share.take(each) for each in whole], len(whole[0]))
        rows, steps = self.plan(index, epoch)
        return share.fill_up(self.examples(share.take(rows), steps), len(rows))

    def plan(self, index: int, epoch: int | None) -> tuple[np.ndarray, int]:
        """Chooses the examples of a batch.

        Args:
            index: int. Number of the batch in the epoch, counted from 0.
            epoch: int, or `None` for the order of the text.

        Returns:
            An integer array of shape `(N,)`, the examples; and the number of steps.
        """
        raise NotImplementedError

    def examples(self, rows: np.ndarray, steps: int) -> tuple[np.ndarray, ...]:
        """Returns inputs and targets of some examples of `plan`."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        if not 0 <= index < len(self):
            raise IndexError(
                f"Batch {index} does not exist: the dataset has {len(self)} batches, "
                "counted from 0."
            )
        return self.batch(index, self.epoch)

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        self.epoch, self._started = self.next_epoch, True
        epoch = self.epoch
        for index in range(len(self)):
            yield self.batch(index, epoch)

    @property
    def largest_batch(self) -> int:
        """Maximum number of examples in a batch."""
        return self.batch_size

    @property
    def text_batches(self) -> int:
        """Number of batches in the order of the text, which `predict` reads."""
        return len(self)

    @property
    def carries_state(self) -> bool:
        """Whether each batch continues the previous one, as stateful models need."""
        return False

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch (counted from 0) that the next pass reads.

        Without this call, the epochs count up from 0, also over several calls of
        `fit`. `LanguageModel.fit` calls it, so that a resumed training uses the same
        order as an uninterrupted one.
        """
        self.epoch, self._started = epoch, False

    @property
    def next_epoch(self) -> int:
        """The epoch that the next pass reads."""
        return self.epoch + 1 if self._started else self.epoch


class ArrayDataset(Dataset):
    """Arrays in an order that depends on `seed` and `epoch` only.

    `fit` needs it to resume a training on arrays: Keras shuffles arrays differently in
    each process.

    Args:
        arrays: sequence of arrays: inputs, and optionally targets and weights. The
            first axis of each is the axis of the examples.
        batch_size: int. Number of examples in a batch. The last batch may be smaller.
        shuffle: bool. Whether to shuffle the examples, differently in each epoch.
        seed: int. Seed of the order.

    Raises:
        ValueError: The arrays have different numbers of examples.
    """

    def __init__(
        self, arrays: Sequence[np.ndarray], batch_size: int, shuffle: bool, seed: int
    ) -> None:
        keras.utils.PyDataset.__init__(self)
        self._set_order(batch_size, seed)
        sizes = {len(array) for array in arrays}
        if len(sizes) > 1 or 0 in sizes:
            raise ValueError(
                f"The arrays have {', '.join(map(str, sorted(sizes)))} examples: all "
                "must have the same number, and at least one."
            )
        self.arrays = tuple(arrays)
        self.shuffle = shuffle
        self._floatx = np.dtype(keras.config.floatx())

    def __len__(self) -> int:
        return math.ceil(len(self.arrays[0]) / self.batch_size)

    def __repr__(self) -> str:
        return f"ArrayDataset({len(self.arrays[0]):,} examples: {len(self):,} batches)"

    @property
    def steps(self) -> int | None:
        """Number of steps of the inputs."""
        return self.arrays[0].shape[1] if self.arrays[0].ndim > 1 else None

    @property
    def signature(self) -> tuple[tuple[tuple, str], ...]:
        """Shape, without the batch axis, and dtype of each array of a batch."""
        return tuple(
            (array.shape[1:], self._dtype_of(array).name) for array in self.arrays
        )

    def plan(self, index: int, epoch: int | None) -> tuple[np.ndarray, int]:
        """Chooses the examples of a batch; `epoch=None` is the order of the arrays."""
        size = len(self.arrays[0])
        first = index * self.batch_size
        rows = np.arange(first, min(first + self.batch_size, size))
        if self.shuffle and epoch is not None:
            rows = permute(rows, size, (self.seed, epoch))
        return rows, self.steps or 0

    def examples(self, rows: np.ndarray, steps: int) -> tuple[np.ndarray, ...]:
        """Returns the items of all arrays."""
        return tuple(
            np.asarray(array[rows], self._dtype_of(array)) for array in self.arrays
        )

    def _dtype_of(self, array: np.ndarray) -> np.dtype:
        # As Keras converts arrays.
        return self._floatx if array.dtype.kind == "f" else array.dtype


class View(Batches):
    """A dataset in the order of one fixed epoch; reading it does not change its epoch.

    A process that shares the training with others reads its rows of each batch.

    Args:
        dataset: `Dataset`.
        epoch: int, or `None` for the order of the text.
    """

    def __init__(self, dataset: Dataset, epoch: int | None) -> None:
        super().__init__()
        self.dataset = dataset
        self.epoch = epoch

    def __len__(self) -> int:
        return (
            len(self.dataset) if self.epoch is not None else self.dataset.text_batches
        )

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        part = share()
        return (self.dataset.part(i, self.epoch, part) for i in range(len(self)))

    @property
    def steps(self) -> int | None:
        """Number of steps of the inputs; `None` if it differs between batches."""
        return self.dataset.steps

    @property
    def mean_steps(self) -> float | None:
        """Mean number of steps of the batches; `None` if it is not known."""
        return self.dataset.mean_steps

    @property
    def few_lengths(self) -> bool:
        """Whether `steps` has only a few values, so that compiling for each pays."""
        return self.dataset.few_lengths

    @property
    def target_steps(self) -> tuple:
        """Shape of the targets without the batch axis."""
        return self.dataset.target_steps

    @property
    def signature(self) -> tuple[tuple[tuple, str], ...]:
        """Shape, without the batch axis, and dtype of each array of a batch."""
        return self.dataset.signature

    @property
    def largest_batch(self) -> int:
        """Maximum number of examples in a batch."""
        return self.dataset.largest_batch


class Feed(View):
    """A dataset that is read in parts of `num_batches` batches, pass after pass.

    `fit` needs it for `steps_per_epoch`: an epoch of Keras can end at any batch, and
    the next one continues there. An epoch of the dataset still ends where its pass
    ends.

    Args:
        dataset: `Dataset`.
        num_batches: int. Number of batches in a part.

    Attributes:
        first: int. Number of the first batch of the next part, counted from 0 through
            all passes.
        skipped: int. Number of batches at the beginning of the next part that a resumed
            training has already read.
    """

    def __init__(self, dataset: Dataset, num_batches: int) -> None:
        super().__init__(dataset, 0)
        self.first = self.skipped = 0
        self._length = num_batches

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        # At least one batch: Keras cannot read an empty part.
        begin, part = min(self.skipped, len(self) - 1), share()
        for number in range(self.first + begin, self.first + len(self)):
            epoch, index = divmod(number, len(self.dataset))
            yield self.dataset.part(index, epoch, part)


def as_ids(ids: np.ndarray) -> np.ndarray:
    """Returns ids as an array, not copied; raises ValueError for anything else."""
    ids = np.asanyarray(ids)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(
            "ids must be a one-dimensional integer array, as Vocabulary.encode returns "
            f"it; got shape {ids.shape} and dtype {ids.dtype}."
        )
    return ids


def check_integers(least: int, **values: int) -> None:
    """Raises ValueError if a value is not an integer of at least `least`."""
    for name, value in values.items():
        if not isinstance(value, int | np.integer) or value < least:
            raise ValueError(
                f"{name}={value!r} must be an integer of at least {least}."
            )
