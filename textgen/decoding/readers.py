"""How a network reads on: by its state, or by a window.

A reader is the seam between a network and everything that generates or scores text. It
reads ids from call to call, and hands on a carry: what the network must remember.
Models, blends and networks of the user's own differ in nothing else.

Names of dimensions: N texts, T steps, L steps of a window, V tokens of the vocabulary,
F features.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops
from keras.tree import map_structure

from textgen import backend
from textgen.decoding import sampling
from textgen.text.vocabulary import NO_SYMBOL


class Reader:
    """Base class: reads ids, and carries what it has read from call to call.

    A carry is a structure of tensors whose first axis is N. `step` and `read` are
    functions of `keras.ops` without side effects, since they are compiled.

    Subclasses implement `variables`, `initial`, `step`, `read`, `num_stepwise` and
    `prime`.

    Args:
        start_id: int. The id of the start step. Defaults to `-1`, a step of zeros.
        start_step: bool. Whether the network learned to read a start step before each
            text. An empty text is a start step for every reader, since something must
            be read. Defaults to `False`.

    Attributes:
        max_read_steps: int. The largest T of `read`.
        max_read_size: int. The largest N times T of `read`, for the sake of memory.
    """

    max_read_steps = 1024
    max_read_size = 16384

    def __init__(self, start_id: int = NO_SYMBOL, start_step: bool = False) -> None:
        self.start_id = start_id
        self.start_step = start_step
        self._compiled: dict[str, Callable] = {}

    @property
    def variables(self) -> Sequence:
        """The `keras.Variable`s that `step` and `read` depend on."""
        raise NotImplementedError

    @property
    def begins_with_start(self) -> bool:
        """Whether the ids of a text that is not empty begin with `start_id`."""
        return self.start_step

    def initial(self, rows: int, empty: bool = False, started: bool = False) -> Any:
        """Returns the carry before the first ids of texts.

        Args:
            rows: int. Number of texts, N.
            empty: bool. Whether the texts are empty, so that their ids are a start
                step alone. Defaults to `False`.
            started: bool. Whether the ids of other texts lack the start step that this
                reader learned; the carry is then the one after it. Defaults to
                `False`.
        """
        raise NotImplementedError

    def step(self, ids: Any, carry: Any) -> tuple[Any, Any]:
        """Reads one id of each text.

        Args:
            ids: int32 tensor of shape `(N,)`.
            carry: The carry before it.

        Returns:
            Logits of the next ids, `(N, V)`, and the carry after it.
        """
        raise NotImplementedError

    def read(self, ids: Any, carry: Any) -> tuple[Any, Any, Any]:
        """Reads several ids of each text.

        Args:
            ids: int32 tensor of shape `(N, T)`.
            carry: The carry before them.

        Returns:
            Features, `(N, T, F)`, logits, `(N, T, V)`, and the carry after them.
        """
        raise NotImplementedError

    def num_stepwise(self, length: int) -> int:
        """Returns how many of the last ids of a prompt are read step by step.

        The ids before them are read at once, by `prime`.
        """
        raise NotImplementedError

    def prime(
        self, heads: list[np.ndarray], empty: Sequence[bool], started: bool = False
    ) -> Any:
        """Returns the carry after the first ids of prompts.

        Args:
            heads: list of N int arrays: the ids of each prompt, but for those that
                `num_stepwise` counts.
            empty: Sequence of N bool. Whether each text is empty.
            started: bool. As for `initial`.
        """
        raise NotImplementedError

    def compiled_read(self, what: str) -> Callable:
        """Returns a compiled form of `read`, made when it is first asked for.

        Args:
            what: `"state"`, `(ids, carry) -> carry`; `"scores"`, `(ids, carry, wanted)
                -> (log probabilities of the ids wanted, (N, T), carry)`; or
                `"features"`, `(ids, carry, wanted) -> (features, carry)`.
        """

        def state(ids: Any, carry: Any) -> Any:
            return self.read(ids, carry)[2]

        def scores(ids: Any, carry: Any, wanted: Any) -> tuple:
            _, logits, carry = self.read(ids, carry)
            return sampling.log_probability(logits, wanted), carry

        def features(ids: Any, carry: Any, _: Any) -> tuple:
            found, _, carry = self.read(ids, carry)
            return sampling.at_least_float32(found), carry

        functions: dict[str, Callable]
        functions = {"state": state, "scores": scores, "features": features}
        if what not in self._compiled:
            self._compiled[what] = backend.compiled(functions[what], self.variables)
        return self._compiled[what]


class StateReader(Reader):
    """Reads by carrying the states of a network from step to step.

    Args:
        states: Callable. Takes N; returns the states before a text, zero.
        step: Callable. See `Reader.step`.
        read: Callable. See `Reader.read`.
        variables: Callable. Takes nothing; returns the variables of the network.
        start_id: int. As for `Reader`.
        start_step: bool. As for `Reader`.
    """

    def __init__(
        self,
        states: Callable,
        step: Callable,
        read: Callable,
        variables: Callable[[], Sequence],
        start_id: int = NO_SYMBOL,
        start_step: bool = False,
    ) -> None:
        super().__init__(start_id, start_step)
        self._states, self._step, self._read = states, step, read
        self._variables = variables

    @property
    def variables(self) -> Sequence:
        """The variables of the network."""
        return self._variables()

    def initial(self, rows: int, empty: bool = False, started: bool = False) -> Any:
        """Returns the states before the first ids of texts."""
        if empty or not (started and self.start_step):
            return self._states(rows)
        start = np.full((1, 1), self.start_id, np.int32)
        carry = self.compiled_read("state")(start, self._states(1))
        return _repeated(carry, rows)

    def step(self, ids: Any, carry: Any) -> tuple[Any, Any]:
        """Reads one id of each text."""
        return self._step(ids, carry)

    def read(self, ids: Any, carry: Any) -> tuple[Any, Any, Any]:
        """Reads several ids of each text."""
        return self._read(ids, carry)

    def num_stepwise(self, length: int) -> int:
        """Returns what remains of a prompt when it is read in whole chunks."""
        return (length - 1) % self.max_read_steps + 1

    def prime(
        self, heads: list[np.ndarray], empty: Sequence[bool], started: bool = False
    ) -> Any:
        """Returns the states after heads of whole chunks of `max_read_steps`."""
        known: dict[tuple[bytes, bool], Any] = {}  # often all heads are the same
        keys = [(head.tobytes(), no) for head, no in zip(heads, empty, strict=True)]
        for head, key in zip(heads, keys, strict=True):
            if key in known:
                continue
            carry = self.initial(1, key[1], started)
            for at in range(0, len(head), self.max_read_steps):
                ids = head[np.newaxis, at : at + self.max_read_steps]
                carry = self.compiled_read("state")(ids, carry)
            known[key] = carry
        if len(known) == 1:
            [carry] = known.values()
            return _repeated(carry, len(heads))
        return map_structure(
            lambda *xs: ops.concatenate(xs, axis=0), *(known[key] for key in keys)
        )


class WindowReader(Reader):
    """Reads by sliding a window over the text, padded on the left with `start_id`.

    The carry is the window, `[(N, L)]`.

    Args:
        predict: Callable. Takes windows, int32 of shape `(N, L)`; returns features,
            `(N, F)`, and logits, `(N, V)`, of what comes after the last step.
        variables: Callable. Takes nothing; returns the variables of the network.
        length: int. Steps of a window, L.
        start_id: int. As for `Reader`.
        start_step: bool. Has no effect: every window begins with the padding.
    """

    max_read_steps = max_read_size = 512  # each of them a window

    def __init__(
        self,
        predict: Callable,
        variables: Callable[[], Sequence],
        length: int,
        start_id: int = NO_SYMBOL,
        start_step: bool = False,
    ) -> None:
        super().__init__(start_id, start_step)
        self._predict, self._variables = predict, variables
        self.length = length

    @property
    def variables(self) -> Sequence:
        """The variables of the network."""
        return self._variables()

    @property
    def begins_with_start(self) -> bool:
        """True, which changes nothing: the window is full of `start_id`."""
        return True

    def initial(self, rows: int, empty: bool = False, started: bool = False) -> Any:
        """Returns windows of `start_id` alone."""
        return [np.full((rows, self.length), self.start_id, np.int32)]

    def step(self, ids: Any, carry: Any) -> tuple[Any, Any]:
        """Reads one id of each text."""
        window = ops.concatenate([carry[0][:, 1:], ops.expand_dims(ids, 1)], axis=1)
        return self._predict(window)[1], [window]

    def read(self, ids: Any, carry: Any) -> tuple[Any, Any, Any]:
        """Reads several ids of each text: a window for each of them."""
        steps = ids.shape[1]
        joined = ops.concatenate([carry[0], ids], axis=1)
        places = np.arange(1, steps + 1)[:, np.newaxis] + np.arange(self.length)
        windows = ops.take(joined, places, axis=1)
        features, logits = self._predict(ops.reshape(windows, (-1, self.length)))
        return (
            ops.reshape(features, (*ids.shape, -1)),
            ops.reshape(logits, (*ids.shape, -1)),
            [joined[:, -self.length :]],
        )

    def num_stepwise(self, length: int) -> int:
        """Returns 1: the ids before the last one stand in the window."""
        return 1

    def prime(
        self, heads: list[np.ndarray], empty: Sequence[bool], started: bool = False
    ) -> Any:
        """Returns the windows that end with each head."""
        [windows] = self.initial(len(heads))
        for window, head in zip(windows, heads, strict=True):
            last = head[-self.length :]
            window[self.length - len(last) :] = last
        return [windows]


class BlendReader(Reader):
    """Reads with several readers at once, and mixes their distributions.

    The features are those of all readers, one after another; the logits are logarithms
    of the mixture's probabilities. A reader reads `start_id` in place of an id that
    its vocabulary lacks, and gives it the probability 0.

    Args:
        readers: list of `Reader`.
        ids: list of int arrays, `(V,)`: the id that each reader has for each token of
            the common vocabulary, -1 for none.
        weights: list of float, which add up to 1.
    """

    def __init__(
        self, readers: list[Reader], ids: list[np.ndarray], weights: list[float]
    ) -> None:
        # By a window, it makes no difference whether a start step is read.
        carrying = [each for each in readers if not isinstance(each, WindowReader)]
        super().__init__(start_step=all(each.start_step for each in carrying))
        self.readers, self.ids, self.weights = readers, ids, weights
        self.max_read_steps = max(reader.max_read_steps for reader in readers)
        self.max_read_size = min(reader.max_read_size for reader in readers)

    @property
    def variables(self) -> Sequence:
        """The variables of all readers."""
        return [each for reader in self.readers for each in reader.variables]

    def initial(self, rows: int, empty: bool = False, started: bool = False) -> Any:
        """Returns the carry of each reader before the first ids of texts."""
        # The common ids have no start step if one reader never learned it.
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
        """Returns the largest of the readers' numbers."""
        return max(reader.num_stepwise(length) for reader in self.readers)

    def prime(
        self, heads: list[np.ndarray], empty: Sequence[bool], started: bool = False
    ) -> Any:
        """Returns the carry of each reader after the first ids of prompts."""
        started = started or not self.start_step
        return [
            reader.prime([self._own(index, head, np) for head in heads], empty, started)
            for index, reader in enumerate(self.readers)
        ]

    def _own(self, index: int, ids: Any, library: Any) -> Any:
        """Ids of the common vocabulary as those of a reader, by NumPy or Keras."""
        start = self.readers[index].start_id
        own = np.where(self.ids[index] < 0, start, self.ids[index]).astype(np.int32)
        found = library.take(own, library.maximum(ids, 0), axis=0)
        return library.where(ids < 0, np.int32(start), found)

    def _mixture(self, logits: list) -> Any:
        """Logits, `(…, V)`, of the mixture of what logits of each reader say."""
        total: Any = 0
        for weight, ids, each in zip(self.weights, self.ids, logits, strict=True):
            probabilities = ops.softmax(sampling.at_least_float32(each), axis=-1)
            known = ops.take(probabilities, np.maximum(ids, 0), axis=-1)
            total = total + weight * ops.where(ids >= 0, known, 0)
        return ops.log(total)


def _repeated(carry: Any, rows: int) -> Any:
    """The carry of one text, for so many."""
    return map_structure(
        lambda x: ops.repeat(ops.convert_to_tensor(x), rows, axis=0), carry
    )
