"""Batches of ids in an order that depends on a seed and an epoch, and on nothing else.

`Dataset` is the base class of the datasets. `View` and `Feed` are how `fit`, `evaluate`
and `predict` read one.

Names of dimensions: N examples in a batch, T steps.
"""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from textgen import keras_internals


class Batches(keras.utils.PyDataset, keras_internals.DataAdapter):
    """Base class: batches of ids that Keras reads in their order.

    Keras shuffles the batches of a `PyDataset` in `fit` unless it is told not to, which
    would tear apart what continues from batch to batch. It takes a `DataAdapter` as it
    is, and a dataset is one for that reason.

    Subclasses implement `__len__`, `__iter__`, which is one pass, and the properties.
    """

    # A property without a setter in `DataAdapter`.
    batch_size: int | None = None

    @property
    def steps(self) -> int | None:
        """Steps of the inputs, `None` where batches differ in them."""
        raise NotImplementedError

    @property
    def target_steps(self) -> tuple:
        """The shape of the targets after the batch axis."""
        return (self.steps,)

    @property
    def largest_batch(self) -> int:
        """Examples in the largest batch, at most."""
        raise NotImplementedError

    def get_numpy_iterator(self) -> Iterator:
        """Called by Keras; returns an iterator over one pass."""
        return iter(self)

    def get_jax_iterator(self) -> Iterator:
        """Called by Keras; returns an iterator over one pass."""
        return iter(self)

    def get_torch_dataloader(self) -> Any:
        """Called by Keras; returns a loader of one pass."""
        return keras_internals.torch_dataloader(self)

    def get_tf_dataset(self) -> Any:
        """Called by Keras; returns a `tf.data.Dataset` of one pass."""
        import tensorflow as tf

        spec = (
            tf.TensorSpec((None, self.steps), tf.int32),
            tf.TensorSpec((None, *self.target_steps), tf.int32),
        )
        # The generator begins when the first batch is asked for, so that a pass that
        # nobody reads is none.
        return tf.data.Dataset.from_generator(
            lambda: iter(self), output_signature=spec
        ).prefetch(tf.data.AUTOTUNE)


class Dataset(Batches):
    """Base class: batches in an order that depends on `seed` and `epoch` only.

    An epoch is one pass over the batches: each iteration begins the next one, in `fit`
    and in a loop of your own. Keras does not pass `class_weight` on to a dataset;
    models of textgen apply it themselves.

    Subclasses implement `__len__` and `batch`.

    Args:
        ids: integer array of shape `(symbols,)`, as `Vocabulary.encode` returns it; a
            memory map will do. It is not copied.
        batch_size: int. Examples in a batch.
        seed: int. Seed of the order.

    Raises:
        ValueError: An argument is out of its range, or the ids are too few.
    """

    # Whether an example begins with a start step, the id -1, and the id that ends it.
    start_step = False
    end_of_line: Any = None  # int or None

    def __init__(self, ids: np.ndarray, batch_size: int, seed: int) -> None:
        super().__init__()
        check_integers(1, batch_size=batch_size)
        check_integers(0, seed=seed)
        self.ids = as_ids(ids)
        self.batch_size: int = batch_size
        self.seed = seed
        self.epoch = 0
        self._begun = False

    def __repr__(self) -> str:
        steps = "" if self.steps is None else f" of {self.steps} steps"
        return (
            f"{type(self).__name__}({len(self.ids):,} ids: {len(self):,} batches of up "
            f"to {self.largest_batch} examples{steps})"
        )

    def batch(self, index: int, epoch: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Returns a batch.

        Args:
            index: int. The number of the batch in its epoch.
            epoch: int, or `None` for the order of the text.

        Returns:
            `x` and `y`, as the dataset yields them.
        """
        raise NotImplementedError

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(f"Batch {index} is not one of {len(self)}.")
        return self.batch(index, self.epoch)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self.epoch, self._begun = self.next_epoch, True
        epoch = self.epoch
        for index in range(len(self)):
            yield self.batch(index, epoch)

    @property
    def largest_batch(self) -> int:
        """Examples in the largest batch, at most."""
        return self.batch_size

    @property
    def carries_state(self) -> bool:
        """Whether each batch continues the one before, as a stateful model needs."""
        return False

    def set_epoch(self, epoch: int) -> None:
        """Makes `epoch` (counted from 0) the next one that is read.

        Without this call, epochs count up from 0, through as many `fit`s as there
        are. `LanguageModel.fit` calls it, so that a resumed training goes on with the
        order that an uninterrupted one would have had.
        """
        self.epoch, self._begun = epoch, False

    @property
    def next_epoch(self) -> int:
        """The epoch that is read next."""
        return self.epoch + 1 if self._begun else self.epoch


class View(Batches):
    """A dataset in one order, whatever its epoch.

    Args:
        dataset: `Dataset`.
        epoch: int, or `None` for the order of the text.
    """

    def __init__(self, dataset: Dataset, epoch: int | None) -> None:
        super().__init__()
        self.dataset = dataset
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self.dataset.batch(i, self.epoch) for i in range(len(self)))

    @property
    def steps(self) -> int | None:
        """Steps of the inputs, `None` where batches differ in them."""
        return self.dataset.steps

    @property
    def target_steps(self) -> tuple:
        """The shape of the targets after the batch axis."""
        return self.dataset.target_steps

    @property
    def largest_batch(self) -> int:
        """Examples in the largest batch, at most."""
        return self.dataset.largest_batch


class Feed(View):
    """A dataset cut into parts of so many batches, pass after pass.

    What Keras calls an epoch then need not be a pass: an epoch of the dataset ends
    where its pass ends.

    Args:
        dataset: `Dataset`.
        num_batches: int. Batches of a part.

    Attributes:
        first: int. The number of the first batch of the next part, counted through all
            passes from 0.
    """

    def __init__(self, dataset: Dataset, num_batches: int) -> None:
        super().__init__(dataset, 0)
        self.first = 0
        self._length = num_batches

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number in range(self.first, self.first + len(self)):
            epoch, index = divmod(number, len(self.dataset))
            yield self.dataset.batch(index, epoch)


def permute(indices: np.ndarray, size: int, key: tuple[int, int]) -> np.ndarray:
    """Maps indices through a pseudo-random permutation of `range(size)`.

    It is a generalised Feistel network with cycle walking (Black and Rogaway,
    "Ciphers with Arbitrary Finite Domains", CT-RSA 2002), so that a shuffled index is
    computed on the spot, and no permutation is ever held in memory.

    Args:
        indices: integer array, each in `range(size)`.
        size: int. Number of items permuted.
        key: `(seed, epoch)`. What the permutation depends on.

    Returns:
        int64 array of the shape of `indices`.
    """
    rows = math.isqrt(size - 1) + 1
    columns = -(-size // rows)
    round_keys = np.random.default_rng(key).integers(0, 2**63, 6, np.uint64)
    result = np.array(indices, np.uint64)
    outside = np.ones(result.shape, bool)
    while outside.any():
        left, right = np.divmod(result[outside], np.uint64(columns))
        for round_key in round_keys:
            # Either half is moved by a hash of the other; sides change each round.
            left = (left + _hash(right ^ round_key) % np.uint64(rows)) % np.uint64(rows)
            left, right = right, left
            rows, columns = columns, rows
        result[outside] = left * np.uint64(columns) + right
        outside = result >= size
    return result.astype(np.int64)


def _hash(values: np.ndarray) -> np.ndarray:
    """Mixes uint64 values: the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def as_ids(ids: np.ndarray) -> np.ndarray:
    """Returns ids as an array, not copied; raises ValueError if they are none."""
    ids = np.asanyarray(ids)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(
            "ids must be one-dimensional and integer, as Vocabulary.encode returns "
            f"them; got shape {ids.shape} and dtype {ids.dtype}."
        )
    return ids


def check_integers(least: int, **values: int) -> None:
    """Raises ValueError for a value that is no integer of at least `least`."""
    for name, value in values.items():
        if not isinstance(value, int | np.integer) or value < least:
            raise ValueError(
                f"{name}={value!r} must be an integer of at least {least}."
            )
