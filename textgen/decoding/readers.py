"""Readers: how a network reads a text token by token, with a state or with a window.

A reader is the interface between a network and all code that generates or scores text.
It reads ids from call to call, and returns a carry: what the network must remember.
For this code, models, blends and wrapped networks differ in their readers only.

Names of dimensions: N texts, T steps, L steps of a window, V tokens of the vocabulary,
F features.
"""

import itertools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from keras import ops
from keras.tree import map_structure

from textgen import tracing
from textgen.decoding import sampling
from textgen.text.tokenizer import NO_SYMBOL


class Reader:
    """Base class: reads ids, and keeps what it has read in a carry.

    A carry is a structure of tensors whose first axis is N. `step` and `read` are
    compiled: they are functions of `keras.ops` without side effects.

    Subclasses implement `variables`, `initial`, `step`, `read`, `num_stepwise` and
    `prime`.

    Args:
        start_id: int. The id of the start step. Defaults to `-1`, a step of zeros.
        start_step: bool. Whether each text of the training began with a start step.
            Every reader reads a start step for an empty text, because a prediction
            needs an input. Defaults to `False`.

    Attributes:
        max_read_steps: int. The largest T of `read`.
        max_read_size: int. The largest N times T of `read`; it limits the memory.
    """

    max_read_steps = 1024
    max_read_size = 16384

    def __init__(self, start_id: int = NO_SYMBOL, start_step: bool = False) -> None:
        self.start_id = start_id
        self.start_step = start_step
        self._compiled: dict[Hashable, Callable] = {}

    @property
    def variables(self) -> Sequence:
        """The `keras.Variable`s that `step` and `read` depend on."""
        raise NotImplementedError

    @property
    def key(self) -> Hashable | None:
        """Equal keys: `step` and `read` differ in the values of the variables only.

        `None` if this is not known.
        """
        return None

    @property
    def begins_with_start(self) -> bool:
        """Whether the ids of a non-empty text begin with `start_id`."""
        return self.start_step

    def initial(self, rows: int, empty: bool = False, started: bool = False) -> Any:
        """Returns the carry before the first ids of texts.

        Args:
            rows: int. Number of texts, N.
            empty: bool. Whether the texts are empty: their only id is a start step.
                Defaults to `False`.
            started: bool. Whether the ids of non-empty texts do not contain the start
                step of this reader. The carry is then that after a start step.
                Defaults to `False`.
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
        """Returns how many of the last ids of a prompt the decoding loop reads.

        `prime` reads the ids before them.
        """
        raise NotImplementedError

    def prime(
        self,
        heads: list[np.ndarray],
        empty: Sequence[bool],
        started: bool = False,
        known: dict | None = None,
    ) -> Any:
        """Returns the carry after the first ids of prompts.

        Args:
            heads: list of N int arrays. The first ids of each prompt, without those
                that the decoding loop reads.
            empty: Sequence of N bool. Whether each text is empty.
            started: bool. As for `initial`. Defaults to `False`.
            known: dict or `None`. Carries of earlier calls with the same `started`; it
                is extended, and heads that are in it are not read again. Defaults to
                `None`.
        """
        raise NotImplementedError

    def compiled_read(self, what: str) -> Callable:
        """Returns a compiled function of `read`, built at the first call.

        Args:
            what: str. `"state"`: `(ids, carry) -> carry`. `"scores"`: `(ids, carry,
                wanted) -> (log_probs, carry)`, where `log_probs`, `(N, T)`, are those
                of the ids `wanted`, `(N, T)`. `"features"`: `(ids, carry, wanted) ->
                (features, carry)`, where `wanted` is ignored. `"spread"`: the same with
                the log probabilities of all tokens, `(N, T, V)`.
        """

        def state(ids: Any, carry: Any) -> Any:
            return self.read(ids, carry)[2]

        def scores(ids: Any, carry: Any, wanted: Any) -> tuple:
            _, logits, carry = self.read(ids, carry)
            return sampling.log_probability(logits, wanted), carry

        def features(ids: Any, carry: Any, _: Any) -> tuple:
            found, _, carry = self.read(ids, carry)
            return sampling.at_least_float32(found), carry

        def spread(ids: Any, carry: Any, _: Any) -> tuple:
            _, logits, carry = self.read(ids, carry)
            logits = sampling.at_least_float32(logits)
            return ops.log_softmax(logits, axis=-1), carry

        functions: dict[str, Callable] = {
            "state": state,
            "scores": scores,
            "features": features,
            "spread": spread,
        }
        return self.compiled(what, functions[what], self.variables)

    def compiled(
        self, name: Hashable, function: Callable, variables: Sequence = ()
    ) -> Callable:
        """Compiles a function of `step` or `read` at the first call with its name.

        Args:
            name: Hashable. Equal names mean equal functions.
            function: Callable.
            variables: Sequence of `keras.Variable`. As for `tracing.compiled`. Defaults
                to none: their values are arguments of `function`.
        """
        if name not in self._compiled:
            key = self.key
            self._compiled[name] = tracing.compiled(
                function, variables, key and (name, key)
            )
        return self._compiled[name]


class StateReader(Reader):
    """Carries the states of a recurrent network from step to step.

    Args:
        states: Callable. Takes N; returns the states before a text, zeros.
        step: Callable. See `Reader.step`.
        read: Callable. See `Reader.read`.
        variables: Callable without arguments. Returns the variables of the network.
        start_id: int. As for `Reader`.
        start_step: bool. As for `Reader`.
        architecture: Callable without arguments. Returns a hashable description of
            `step` and `read` without the values of the variables, or `None`. Defaults
            to no description.
    """

    def __init__(
        self,
        states: Callable,
        step: Callable,
        read: Callable,
        variables: Callable[[], Sequence],
        start_id: int = NO_SYMBOL,
        start_step: bool = False,
        architecture: Callable[[], Hashable | None] = lambda: None,
    ) -> None:
        super().__init__(start_id, start_step)
        self._states, self._step, self._read = states, step, read
        self._variables, self._architecture = variables, architecture

    @property
    def variables(self) -> Sequence:
        """The variables of the network."""
        return self._variables()

    @property
    def key(self) -> Hashable | None:
        """The architecture of the network."""
        return (known := self._architecture()) and ("state", known)

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
        """Returns the rest of a prompt after its full chunks, at least 1."""
        return (length - 1) % self.max_read_steps + 1

    def prime(
        self,
        heads: list[np.ndarray],
        empty: Sequence[bool],
        started: bool = False,
        known: dict | None = None,
    ) -> Any:
        """Returns the states after each head; equal heads are read once."""
        known = {} if known is None else known
        keys = [(head.tobytes(), no) for head, no in zip(heads, empty, strict=True)]
        for head, key in zip(heads, keys, strict=True):
            if key not in known:
                known[key] = self._state_after(head, self.initial(1, key[1], started))
        if len(set(keys)) == 1:
            return _repeated(known[keys[0]], len(heads))
        return map_structure(
            lambda *xs: ops.concatenate(xs, axis=0), *(known[key] for key in keys)
        )

    def _state_after(self, head: np.ndarray, carry: Any) -> Any:
        """Reads the head of one text."""
        size = self.max_read_steps
        # Two shapes to compile for: full chunks, and single steps for the rest.
        rest = len(head) // size * size
        cuts = [*range(0, rest, size), *range(rest, len(head) + 1)]
        for start, end in itertools.pairwise(cuts):
            carry = self.compiled_read("state")(head[np.newaxis, start:end], carry)
        return carry


class WindowReader(Reader):
    """Slides a window over the text, padded on the left with `start_id`.

    The carry is the window, `[(N, L)]`.

    Args:
        predict: Callable. Takes windows, int32 of shape `(N, L)`; returns features,
            `(N, F)`, and logits, `(N, V)`, of the token after the window.
        variables: Callable without arguments. Returns the variables of the network.
        length: int. Steps of a window, L.
        start_id: int. As for `Reader`.
        start_step: bool. Has no effect: the window before a text is padding.
        architecture: Callable. As for `StateReader`; describes `predict`.
    """

    max_read_steps = max_read_size = 512  # the network reads a window for each step

    def __init__(
        self,
        predict: Callable,
        variables: Callable[[], Sequence],
        length: int,
        start_id: int = NO_SYMBOL,
        start_step: bool = False,
        architecture: Callable[[], Hashable | None] = lambda: None,
    ) -> None:
        super().__init__(start_id, start_step)
        self._predict, self._variables = predict, variables
        self._architecture = architecture
        self.length = length

    @property
    def variables(self) -> Sequence:
        """The variables of the network."""
        return self._variables()

    @property
    def key(self) -> Hashable | None:
        """The architecture of the network, and the length."""
        return (known := self._architecture()) and ("window", self.length, known)

    @property
    def begins_with_start(self) -> bool:
        """True: it changes nothing, because the first window is all `start_id`."""
        return True

    def initial(self, rows: int, empty: bool = False, started: bool = False) -> Any:
        """Returns windows that contain `start_id` only."""
        return [np.full((rows, self.length), self.start_id, np.int32)]

    def step(self, ids: Any, carry: Any) -> tuple[Any, Any]:
        """Reads one id of each text."""
        window = ops.concatenate([carry[0][:, 1:], ops.expand_dims(ids, 1)], axis=1)
        return self._predict(window)[1], [window]

    def read(self, ids: Any, carry: Any) -> tuple[Any, Any, Any]:
        """Reads several ids of each text, with a window for each id."""
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
        """Returns 1: the ids before the last one are in the window."""
        return 1

    def prime(
        self,
        heads: list[np.ndarray],
        empty: Sequence[bool],
        started: bool = False,
        known: dict | None = None,
    ) -> Any:
        """Returns the windows that end with each head."""
        [windows] = self.initial(len(heads))
        for window, head in zip(windows, heads, strict=True):
            last = head[-self.length :]
            window[self.length - len(last) :] = last
        return [windows]


def _repeated(carry: Any, rows: int) -> Any:
    """Repeats the carry of one text for N texts."""
    return map_structure(
        lambda x: ops.repeat(ops.convert_to_tensor(x), rows, axis=0), carry
    )
