"""The reader of a blend, which reads with several readers.

Names of dimensions: N texts, T steps, V tokens of the common vocabulary, F features.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from keras import ops

from textgen.decoding import sampling
from textgen.decoding.readers import Reader, WindowReader


class BlendReader(Reader):
    """Reads with several readers, and averages their probabilities.

    The features are the concatenated features of all readers. The logits are the
    logarithms of the averaged probabilities. For a token that is not in its vocabulary,
    a reader reads `start_id`, and it predicts the token with probability 0.

    Args:
        readers: list of `Reader`.
        ids: list of int arrays, `(V,)`. For each reader, its id of each token of the
            common vocabulary; -1 if it does not have the token.
        weights: list of float with sum 1.
    """

    def __init__(
        self, readers: list[Reader], ids: list[np.ndarray], weights: list[float]
    ) -> None:
        # A start step makes no difference to a window, which is padded with it.
        carrying = [each for each in readers if not isinstance(each, WindowReader)]
        super().__init__(start_step=all(each.start_step for each in carrying))
        self.readers, self.ids, self.weights = readers, ids, weights
        self.max_read_steps = max(reader.max_read_steps for reader in readers)
        self.max_read_size = min(reader.max_read_size for reader in readers)

    @property
    def variables(self) -> Sequence:
        """The variables of all readers."""
        return [each for reader in self.readers for each in reader.variables]

    @property
    def key(self) -> Hashable | None:
        """The keys of all readers, their ids and weights."""
        keys = [reader.key for reader in self.readers]
        if None in keys:
            return None
        starts = [reader.start_id for reader in self.readers]
        ids = [own.tobytes() for own in self.ids]
        return "blend", *zip(keys, starts, ids, self.weights, strict=True)

    def initial(self, rows: int, empty: bool = False, started: bool = False) -> Any:
        """Returns the carry of each reader before the first ids of texts."""
        # The common ids have no start step if one of the readers did not learn it.
        started = started or not self.start_step
        return [reader.initial(rows, empty, started) for reader in self.readers]

    def step(self, ids: Any, carry: Any) -> tuple[Any, Any]:
        """Reads one id of each text."""
        logits, carries = [], []
        for index, reader in enumerate(self.readers):
            each, following = reader.step(self._own(index, ids, ops), carry[index])
            logits.append(each)
            carries.append(following)
        return self._mixture(logits), carries

    def read(self, ids: Any, carry: Any) -> tuple[Any, Any, Any]:
        """Reads several ids of each text."""
        features, logits, carries = [], [], []
        for index, reader in enumerate(self.readers):
            feature, each, following = reader.read(
                self._own(index, ids, ops), carry[index]
            )
            features.append(sampling.at_least_float32(feature))
            logits.append(each)
            carries.append(following)
        return ops.concatenate(features, axis=-1), self._mixture(logits), carries

    def num_stepwise(self, length: int) -> int:
        """Returns the largest number of all readers."""
        return max(reader.num_stepwise(length) for reader in self.readers)

    def prime(
        self,
        heads: list[np.ndarray],
        empty: Sequence[bool],
        started: bool = False,
        known: dict | None = None,
    ) -> Any:
        """Returns the carry of each reader after the first ids of prompts."""
        started = started or not self.start_step
        known = {} if known is None else known
        return [
            reader.prime(
                [self._own(index, head, np) for head in heads],
                empty,
                started,
                known.setdefault(index, {}),
            )
            for index, reader in enumerate(self.readers)
        ]

    def _own(self, index: int, ids: Any, library: Any) -> Any:
        """Converts common ids to those of a reader, with NumPy or `keras.ops`."""
        start = self.readers[index].start_id
        own = np.where(self.ids[index] < 0, start, self.ids[index]).astype(np.int32)
        found = library.take(own, library.maximum(ids, 0), axis=0)
        return library.where(ids < 0, np.int32(start), found)

    def _mixture(self, logits: list) -> Any:
        """Returns the logits, `(…, V)`, of the averaged probabilities."""
        total: Any = 0
        for weight, ids, each in zip(self.weights, self.ids, logits, strict=True):
            probabilities = ops.softmax(sampling.at_least_float32(each), axis=-1)
            known = ops.take(probabilities, np.maximum(ids, 0), axis=-1)
            total = total + weight * ops.where(ids >= 0, known, 0)
        return ops.log(total)
