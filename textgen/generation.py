"""The decoding loop: prime with the prompt, step, choose, stop, stream, batch.

It knows no network: a model hands it `step(ids, carry) -> (logits, carry)`, with ids of
shape `(N,)`, and the carry it starts from. Everything of a chunk of symbols happens
inside one compiled loop, the prompt included, so no Python runs between two symbols
(but for a sampler of the user's own, which is Python).

Names of dimensions: N rows (texts written at once), C symbols in a chunk, V symbols of
the vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from textgen import sampling

Step = Callable[[Any, Any], tuple[Any, Any]]
Sampler = Callable[[np.ndarray, int], np.ndarray]

_FREE = -2  # where the prompt does not say which id comes next
_FIRST_CHUNK, _CHUNK = 16, 128  # symbols; small at first, to show something at once


class Decoder:
    """Writes ids with a step function, whose loop is compiled once and then reused.

    Args:
        step: Callable. Takes ids, int32 of shape `(N,)`, and a carry (a list of
            tensors); returns the logits of the next ids, `(N, V)`, and the new carry.
            It must be built of `keras.ops`.
        variables: list of the `keras.Variable`s that `step` reads.
    """

    def __init__(self, step: Step, variables: Sequence = ()) -> None:
        self._step = compiled(step, variables)
        self._chunk = compiled(_make_chunk(step), variables)

    def stream(
        self,
        prompts: Sequence[np.ndarray],
        carry: list,
        max_new_tokens: int,
        temperature: float,
        generators: Sequence[np.random.Generator],
        sampler: Sampler | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields new ids, as soon as a chunk of them is there.

        Args:
            prompts: N integer arrays of shape `(steps,)`, each of at least one id:
                what is fed before anything is chosen.
            carry: The carry that the first ids of the prompts are fed with.
            max_new_tokens: int. Ids to write after each prompt.
            temperature: float, at least 0.
            generators: N random generators, each drawing the choices of one row.
            sampler: Callable or `None`. Chooses the next ids instead of sampling: takes
                the logits, a float array of shape `(N, V)`, and the number of ids
                written so far; returns N ids. It runs in Python, between two steps.
                Only for prompts of one length.

        Yields:
            int32 arrays of shape `(N, n)`, with -2 where a row still reads its
            prompt, or has written all its ids.
        """
        lengths = np.array([[len(prompt)] for prompt in prompts])
        longest = max(map(len, prompts))
        forced = np.full((len(prompts), longest + max_new_tokens), _FREE, np.int32)
        for index, prompt in enumerate(prompts):
            forced[index, : len(prompt)] = prompt
        if sampler is not None:
            yield from self._stream_by_sampler(forced, longest, carry, sampler)
            return
        # Beyond this, all that can be drawn is equally probable.
        temperatures = np.full(len(prompts), min(temperature, 1e30), np.float32)
        ids: Any = forced[:, 0]
        forced = forced[:, 1:]
        position: int = 0
        size = _FIRST_CHUNK
        while position < forced.shape[1]:
            # The prompt is read in whole chunks; only what is written grows slowly.
            reading = position + _CHUNK < longest
            count = min(_CHUNK if reading else size, forced.shape[1] - position)
            given = np.full((len(prompts), _CHUNK), _FREE, np.int32)
            given[:, :count] = forced[:, position : position + count]
            drawn = np.zeros((len(prompts), _CHUNK), np.float32)
            for row, generator in enumerate(generators):
                free = np.flatnonzero(given[row, :count] == _FREE)
                drawn[row, free] = generator.random(len(free), np.float32)
            written, ids, carry = self._chunk(
                ids, carry, given, drawn, temperatures, np.int32(count)
            )
            # Rows with a shorter prompt start earlier, and are done earlier.
            at = position + 1 + np.arange(count)
            writing = (at >= lengths) & (at < lengths + max_new_tokens)
            yield np.where(writing, ops.convert_to_numpy(written)[:, :count], _FREE)
            position += count
            if not reading:
                size = min(2 * size, _CHUNK)

    def _stream_by_sampler(
        self, forced: np.ndarray, longest: int, carry: list, sampler: Sampler
    ) -> Iterator[np.ndarray]:
        if (forced[:, :longest] == _FREE).any():
            raise ValueError("A sampler of one's own needs prompts of equal length.")
        ids = forced[:, 0]
        for position in range(1, forced.shape[1]):
            logits, carry = self._step(ids, carry)
            if position < longest:
                ids = forced[:, position]
                continue
            array = ops.convert_to_numpy(sampling.at_least_float32(logits))
            ids = np.asarray(sampler(array, position - longest), np.int32)
            yield ids[:, np.newaxis]


def _make_chunk(step: Step) -> Callable:
    def chunk(
        ids: Any, carry: Any, given: Any, drawn: Any, temperatures: Any, count: Any
    ) -> tuple:
        """Takes `count` steps of the C in the arrays, whose one shape fits all."""

        def body(position: Any, ids: Any, carry: Any, written: Any) -> tuple:
            logits, carry = step(ids, carry)
            chosen = sampling.sample(
                logits, ops.take(drawn, position, axis=1), temperatures
            )
            told = ops.take(given, position, axis=1)
            ids = ops.where(told == _FREE, chosen, told)
            written = ops.slice_update(written, (0, position), ops.expand_dims(ids, 1))
            return position + 1, ids, carry, written

        _, ids, carry, written = ops.while_loop(
            lambda position, *_: position < count,
            body,
            (ops.convert_to_tensor(0, "int32"), ids, carry, ops.zeros_like(given)),
        )
        return written, ids, carry

    return chunk


def compiled(function: Callable, variables: Sequence) -> Callable:
    """Compiles a pure function of arrays that reads variables.

    XLA does it with TensorFlow and JAX, where each new shape of the arguments compiles
    anew; with PyTorch the function runs as it is.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)
    if backend == "jax":
        import jax

        @jax.jit
        def pure(values: list, *args: Any) -> Any:
            with keras.StatelessScope(list(zip(variables, values, strict=True))):
                return function(*args)

        return lambda *args: pure([variable.value for variable in variables], *args)
    if backend == "torch":
        import torch

        def on_tensors(*args: Any) -> Any:
            return function(*keras.tree.map_structure(ops.convert_to_tensor, args))

        return torch.no_grad()(on_tensors)
    return function


class StopFilter:
    """Passes text on as it comes, up to the first of some stop strings.

    What might be the beginning of a stop string is held back until it is known.

    Args:
        stop: Sequence of str, not empty ones.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self.stop = stop
        self.stopped = False
        self._held = ""

    def feed(self, text: str) -> str:
        """Takes the next text; returns what can be shown."""
        text = self._held + text
        # The one that is complete first: which is known however the text was cut.
        found = [
            (at + len(stop), at) for stop in self.stop if (at := text.find(stop)) >= 0
        ]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        keep = max(
            (
                length
                for stop in self.stop
                for length in range(1, min(len(stop), len(text) + 1))
                if text.endswith(stop[:length])
            ),
            default=0,
        )
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """Returns what was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held
