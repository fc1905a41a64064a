"""The decoding loop: reads the prompts, and generates ids in batches.

It does not depend on the network. A model passes `step(ids, carry) -> (logits, carry)`,
with ids of shape `(N,)`, and an initial carry. One compiled loop reads or generates a
complete chunk of tokens, so no Python code runs between two tokens (except for a custom
sampler, which is Python code).

Names of dimensions: N rows (texts generated in parallel), C tokens in a chunk, V tokens
of the vocabulary.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from keras import ops

from textgen import tracing
from textgen.decoding import sampling

Step = Callable[[Any, Any], tuple[Any, Any]]

Sampler = Callable[[np.ndarray, int], np.ndarray]

_FREE = -2  # in place of an id that the prompt does not determine

# In tokens. The first chunk is small, so that the first text appears early.
_FIRST_CHUNK, _CHUNK = 16, 128


class Decoder:
    """Generates ids with a step function; its loop is compiled once and then reused.

    Args:
        step: Callable. Takes ids, int32 of shape `(N,)`, and a carry (a structure of
            tensors whose first axis is N); returns the logits of the next ids,
            `(N, V)`, and the new carry. It must use `keras.ops` only.
        variables: list of the `keras.Variable`s that `step` reads.
        key: Hashable or `None`. Steps with equal keys differ in the values of their
            variables only; see `tracing.compiled`. Defaults to `None`.
    """

    def __init__(
        self, step: Step, variables: Sequence = (), key: Hashable | None = None
    ) -> None:
        self._step = tracing.compiled(step, variables, key and ("step", key))
        self._chunk = tracing.compiled(
            _make_chunk(step), variables, key and ("chunk", key)
        )

    def stream(
        self,
        prompts: Sequence[np.ndarray],
        carry: Any,
        max_new_tokens: int,
        temperature: float | Sequence[float],
        generators: Sequence[np.random.Generator],
        sampler: Sampler | None = None,
        rules: dict[str, Any] | None = None,
        seen: np.ndarray | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields new ids in chunks, while they are generated.

        Args:
            prompts: N integer arrays of shape `(steps,)`, each with at least one id.
            carry: The carry before the first ids of the prompts.
            max_new_tokens: int. Number of ids to generate after each prompt.
            temperature: float, at least 0, or a sequence of float, one per new id; the
                sequence is repeated if it is shorter than the text.
            generators: N random generators, one per row.
            sampler: Callable or `None`. Custom function that replaces random sampling:
                takes the logits, a float array of shape `(N, V)`, and the number of ids
                generated so far; returns N ids. It runs in Python between two steps.
                Requires prompts of equal length.
            rules: dict or `None`. Changes to the logits; see `sampling.make_rules`.
            seen: bool array of shape `(N, V)`, which marks the ids before the prompts,
                or `None`. Required for a repetition penalty.

        Yields:
            int32 array of shape `(N, n)`, with -2 for steps at which a row still reads
            its prompt or is already complete, and an array of the same shape with the
            log probabilities of these ids (in nats, from the unmodified logits).

        Raises:
            ValueError: The prompts have unequal lengths and there is a `sampler`.
        """
        lengths = np.array([[len(prompt)] for prompt in prompts])
        longest = max(map(len, prompts))
        forced = _forced(prompts, longest + max_new_tokens)
        rules = rules or {}
        temperatures = np.atleast_1d(np.asarray(temperature, np.float64))
        # Above this limit, all possible ids are equally probable in float32.
        temperatures = np.minimum(temperatures, 1e30).astype(np.float32)
        if sampler is not None:
            yield from self._stream_by_sampler(
                forced, longest, carry, temperatures, sampler, rules, seen
            )
            return
        ids: Any = forced[:, 0]
        forced = forced[:, 1:]
        position: int = 0
        size = _FIRST_CHUNK
        while position < forced.shape[1]:
            # The prompt is read in full chunks; chunks of new ids start small and grow.
            reading = position + _CHUNK < longest
            count = min(_CHUNK if reading else size, forced.shape[1] - position)
            given = np.full((len(prompts), _CHUNK), _FREE, np.int32)
            given[:, :count] = forced[:, position : position + count]
            drawn = np.zeros((len(prompts), _CHUNK), np.float32)
            for row, generator in enumerate(generators):
                free = np.flatnonzero(given[row, :count] == _FREE)
                drawn[row, free] = generator.random(len(free), np.float32)
            # The step of the first new id is equal to the length of the prompt.
            turn = position + 1 + np.arange(_CHUNK) - lengths
            written, log_probabilities, ids, carry, seen = self._chunk(
                ids,
                carry,
                seen,
                given,
                drawn,
                temperatures[turn % len(temperatures)],
                np.int32(count),
                rules,
            )
            # Rows with a shorter prompt start and end earlier.
            at = position + 1 + np.arange(count)
            writing = (at >= lengths) & (at < lengths + max_new_tokens)
            yield (
                np.where(writing, ops.convert_to_numpy(written)[:, :count], _FREE),
                ops.convert_to_numpy(log_probabilities)[:, :count],
            )
            position += count
            if not reading:
                size = min(2 * size, _CHUNK)

    def _stream_by_sampler(
        self,
        forced: np.ndarray,
        longest: int,
        carry: Any,
        temperatures: np.ndarray,
        sampler: Sampler,
        rules: dict[str, Any],
        seen: np.ndarray | None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if (forced[:, :longest] == _FREE).any():
            raise ValueError(
                "A custom sampler needs prompts of equal length: pass one prompt at a "
                "time."
            )
        ids = forced[:, 0]
        rows = np.arange(len(ids))
        for position in range(1, forced.shape[1]):
            logits, carry = self._step(ids, carry)
            if seen is not None:
                sampling.mark(seen, rows, ids)
            if position < longest:
                ids = forced[:, position]
                continue
            turn = position - longest
            temperature = temperatures[turn % len(temperatures)]
            offered = sampling.adjust(logits, rules, seen)
            if temperature not in (0, 1):
                offered = offered / temperature
            offered = sampling.restrict(offered, rules)
            ids = np.asarray(sampler(ops.convert_to_numpy(offered), turn), np.int32)
            log_probabilities = sampling.log_probability(logits, ids)
            yield ids[:, np.newaxis], ops.convert_to_numpy(log_probabilities)[:, None]


def _forced(prompts: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Returns the ids of the prompts, `(N, length)`, followed by `_FREE`."""
    forced = np.full((len(prompts), length), _FREE, np.int32)
    for row, prompt in zip(forced, prompts, strict=True):
        row[: len(prompt)] = prompt
    return forced


def _make_chunk(step: Step) -> Callable:
    def chunk(
        ids: Any,
        carry: Any,
        seen: Any,
        given: Any,
        drawn: Any,
        temperatures: Any,
        count: Any,
        rules: dict[str, Any],
    ) -> tuple:
        """Takes `count` of C steps; a fixed C avoids one compilation per count."""

        def body(
            position: Any, ids: Any, carry: Any, seen: Any, written: Any, scores: Any
        ) -> tuple:
            logits, carry = step(ids, carry)
            if seen:
                seen = [seen[0] | ops.one_hot(ids, logits.shape[-1], dtype="bool")]
            chosen = sampling.sample(
                logits,
                ops.take(drawn, position, axis=1),
                ops.take(temperatures, position, axis=1),
                rules,
                *seen,
            )
            forced = ops.take(given, position, axis=1)
            ids = ops.where(forced == _FREE, chosen, forced)
            score = ops.cast(sampling.log_probability(logits, ids), scores.dtype)
            column = ops.zeros_like(position), position  # JAX needs equal dtypes
            written = ops.slice_update(written, column, ops.expand_dims(ids, 1))
            scores = ops.slice_update(scores, column, ops.expand_dims(score, 1))
            return position + 1, ids, carry, seen, written, scores

        _, ids, carry, state, written, scores = ops.while_loop(
            lambda position, *_: position < count,
            body,
            (
                ops.convert_to_tensor(0, "int32"),
                ids,
                carry,
                [] if seen is None else [ops.convert_to_tensor(seen)],
                ops.zeros_like(given),
                ops.zeros_like(drawn),
            ),
        )
        return written, scores, ids, carry, state[0] if state else None

    return chunk
