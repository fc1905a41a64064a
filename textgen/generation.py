"""The decoding loop: prime with the prompt, step, choose, stop, stream, batch.

It knows no network: a model hands it `step(ids, carry) -> (logits, carry)`, with ids of
shape `(N,)`, and the carry it starts from. Everything of a chunk of symbols happens
inside one compiled loop, the prompt included, so no Python runs between two symbols
(but for a sampler of the user's own, which is Python).

Names of dimensions: N rows (texts written at once), C symbols in a chunk, V symbols of
the vocabulary.
"""

import unicodedata
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
        step: Callable. Takes ids, int32 of shape `(N,)`, and a carry (a structure of
            tensors whose first axis is N); returns the logits of the next ids,
            `(N, V)`, and the new carry. It must be built of `keras.ops`.
        variables: list of the `keras.Variable`s that `step` reads.
    """

    def __init__(self, step: Step, variables: Sequence = ()) -> None:
        self._step = compiled(step, variables)
        self._chunk = compiled(_make_chunk(step), variables)
        self._advance = compiled(_make_advance(step), variables)

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
        """Yields new ids, as soon as a chunk of them is there.

        Args:
            prompts: N integer arrays of shape `(steps,)`, each of at least one id:
                what is fed before anything is chosen.
            carry: The carry that the first ids of the prompts are fed with.
            max_new_tokens: int. Ids to write after each prompt.
            temperature: float, at least 0, or a sequence of them, for one new id after
                another, and again from the first.
            generators: N random generators, each drawing the choices of one row.
            sampler: Callable or `None`. Chooses the next ids instead of sampling: takes
                the logits, a float array of shape `(N, V)`, and the number of ids
                written so far; returns N ids. It runs in Python, between two steps.
                Only for prompts of one length.
            rules: dict or `None`. What is done to the logits; see `sampling.rules`.
            seen: bool array of shape `(N, V)`, the ids before the prompts, if there is
                a repetition penalty.

        Yields:
            int32 array of shape `(N, n)`, with -2 where a row still reads its prompt,
            or has written all its ids, and the log probabilities (in nats, before
            anything is done to the logits) of these ids, of the same shape.
        """
        lengths = np.array([[len(prompt)] for prompt in prompts])
        longest = max(map(len, prompts))
        forced = np.full((len(prompts), longest + max_new_tokens), _FREE, np.int32)
        for index, prompt in enumerate(prompts):
            forced[index, : len(prompt)] = prompt
        rules = rules or {}
        temperatures = np.atleast_1d(np.asarray(temperature, np.float64))
        # Beyond this, all that can be drawn is equally probable.
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
            # The prompt is read in whole chunks; only what is written grows slowly.
            reading = position + _CHUNK < longest
            count = min(_CHUNK if reading else size, forced.shape[1] - position)
            given = np.full((len(prompts), _CHUNK), _FREE, np.int32)
            given[:, :count] = forced[:, position : position + count]
            drawn = np.zeros((len(prompts), _CHUNK), np.float32)
            for row, generator in enumerate(generators):
                free = np.flatnonzero(given[row, :count] == _FREE)
                drawn[row, free] = generator.random(len(free), np.float32)
            # The first new id is that at the step whose number is the prompt's length.
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
            # Rows with a shorter prompt start earlier, and are done earlier.
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
            raise ValueError("A sampler of one's own needs prompts of equal length.")
        ids = forced[:, 0]
        rows = np.arange(len(ids))
        for position in range(1, forced.shape[1]):
            logits, carry = self._step(ids, carry)
            if seen is not None:
                seen[rows[ids >= 0], ids[ids >= 0]] = True
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

    def beams(
        self,
        prompt: np.ndarray,
        carry: Any,
        max_new_tokens: int,
        num_beams: int,
        length_penalty: float,
        ended: Callable[[list[int]], bool],
        rules: dict[str, Any] | None = None,
        seen: np.ndarray | None = None,
    ) -> list[tuple[list[int], list[float]]]:
        """Searches for the most probable continuations of a prompt.

        Of all continuations so far, the `num_beams` most probable ones go on. Those
        that end, or are as long as may be, are compared by their log probability
        divided by `length ** length_penalty`.

        Args:
            prompt: integer array of shape `(steps,)`, of at least one id.
            carry: The carry that the first id is fed with, for one row.
            max_new_tokens: int. Ids of a continuation, at most.
            num_beams: int, at least 1.
            length_penalty: float. Above 0, longer continuations are preferred to
                equally probable shorter ones.
            ended: Callable. Says whether a continuation is at its end.
            rules: dict or `None`. As for `stream`; filters have no meaning here.
            seen: As for `stream`, for one row.

        Returns:
            At most `num_beams` continuations, the best first: ids, and their log
            probabilities in nats, before anything is done to the logits.
        """
        rules = {k: v for k, v in (rules or {}).items() if k not in sampling.FILTERS}
        for index in prompt[:-1]:
            _, carry = self._step(np.array([index], np.int32), carry)
        ids = np.full(num_beams, prompt[-1], np.int32)
        carry = keras.tree.map_structure(
            lambda x: ops.repeat(ops.convert_to_tensor(x), num_beams, axis=0), carry
        )
        if seen is not None:
            seen = np.repeat(seen, num_beams, axis=0)
            read = prompt[:-1]
            seen[:, read[read >= 0]] = True
        parents = np.arange(num_beams, dtype=np.int32)
        # All beams are the same at first: only one of them counts.
        running: list[tuple[float, list[int], list[float]]] = [(0.0, [], [])]
        finished: list[tuple[float, list[int], list[float]]] = []
        for length in range(1, max_new_tokens + 1):
            if seen is not None:
                seen = seen[parents]
                seen[np.flatnonzero(ids >= 0), ids[ids >= 0]] = True
            adjusted, raw, carry = self._advance(ids, parents, carry, rules, seen)
            adjusted, raw = map(ops.convert_to_numpy, (adjusted, raw))
            totals = np.array([total for total, _, _ in running], np.float64)[:, None]
            totals = totals + adjusted[: len(running)]
            following: list = []
            parents, ids = parents.copy(), ids.copy()
            last = length == max_new_tokens
            order = np.argsort(-totals, axis=None, kind="stable")
            for rank, flat in enumerate(order.tolist()):
                beam, index = divmod(flat, totals.shape[1])
                total = float(totals[beam, index])
                if len(following) == num_beams or (last and rank == num_beams):
                    break
                if total == -np.inf:
                    break
                _, before, scores = running[beam]
                candidate = [*before, index], [*scores, float(raw[beam, index])]
                if last or ended(candidate[0]):
                    finished.append((total / length**length_penalty, *candidate))
                else:
                    parents[len(following)], ids[len(following)] = beam, index
                    following.append((total, *candidate))
            running = following
            finished = sorted(finished, key=lambda each: -each[0])[:num_beams]
            if not running:
                break
            # No running one can do better than with certainty from here on.
            longest = max_new_tokens if length_penalty > 0 else length
            best = running[0][0] / longest**length_penalty
            if len(finished) == num_beams and best <= finished[-1][0]:
                break
        return [(ids, raw) for _, ids, raw in finished]


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
        """Takes `count` steps of the C in the arrays, whose one shape fits all."""

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
            told = ops.take(given, position, axis=1)
            ids = ops.where(told == _FREE, chosen, told)
            score = ops.cast(sampling.log_probability(logits, ids), scores.dtype)
            written = ops.slice_update(written, (0, position), ops.expand_dims(ids, 1))
            scores = ops.slice_update(scores, (0, position), ops.expand_dims(score, 1))
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


def _make_advance(step: Step) -> Callable:
    def advance(
        ids: Any, parents: Any, carry: Any, rules: dict[str, Any], seen: Any
    ) -> tuple:
        """Takes a step of the rows that are gone on with; returns log probabilities."""
        carry = keras.tree.map_structure(lambda x: ops.take(x, parents, axis=0), carry)
        logits, carry = step(ids, carry)
        adjusted = sampling.adjust(logits, rules, seen)
        raw = sampling.at_least_float32(logits)
        return (
            ops.log_softmax(adjusted, axis=-1),
            ops.log_softmax(raw, axis=-1),
            carry,
        )

    return advance


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

        def as_tensor(x: Any) -> Any:
            return x if x is None else ops.convert_to_tensor(x)

        def on_tensors(*args: Any) -> Any:
            return function(*keras.tree.map_structure(as_tensor, args))

        return torch.no_grad()(on_tensors)
    return function


class StopFilter:
    """Passes text on as it comes, up to the first of some stop strings.

    What might be the beginning of a stop string is held back until it is known.

    Args:
        stop: Sequence of str, not empty ones.
        max_lines: int or `None`. The text ends before this number of newlines, too.
    """

    def __init__(self, stop: Sequence[str], max_lines: int | None = None) -> None:
        self.stop = stop
        self.lines = max_lines
        self.stopped = False
        self._held = ""

    def feed(self, text: str) -> str:
        """Takes the next text; returns what can be shown."""
        text = self._held + text
        # The one that is complete first: which is known however the text was cut.
        found = [
            (at + len(stop), at) for stop in self.stop if (at := text.find(stop)) >= 0
        ]
        if self.lines is not None:
            ends = [at for at, symbol in enumerate(text) if symbol == "\n"]
            if len(ends) >= self.lines:
                at = ends[self.lines - 1]
                found.append((at + 1, at))
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
        text = text[: len(text) - keep]
        if self.lines is not None:
            self.lines -= text.count("\n")
        return text

    def flush(self) -> str:
        """Returns what was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held


class ClusterFilter:
    """Passes text on in whole user-perceived characters.

    What may still grow (a letter that an accent follows, the halves of a flag, an
    emoji of several) is held back until the next character shows that it is complete.
    The rules are those of Unicode Standard Annex 29, "Unicode Text Segmentation", for
    what `unicodedata` knows: marks, joiners, emoji modifiers, flags, Hangul, CR LF.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Takes the next text; returns what can be shown."""
        text = self._held + text
        end = len(text) - 1
        while end > 0 and _continues(text, end):
            end -= 1
        end = max(end, 0)
        self._held = text[end:]
        return text[:end]

    def flush(self) -> str:
        """Returns what was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held


def _continues(text: str, at: int) -> bool:
    """Whether the character at a position belongs to the cluster before it."""
    before, this = text[at - 1], text[at]
    if (before, this) == ("\r", "\n"):
        return True
    if before in "\r\n":
        return False
    if (
        unicodedata.category(this).startswith("M")
        or this in "\u200c\u200d"
        or "\U0001f3fb" <= this <= "\U0001f3ff"  # emoji modifiers
        or "\U000e0020" <= this <= "\U000e007f"  # tags, of some flags
    ):
        return True
    if before == "\u200d":
        return this >= "\u2190"  # joined emoji, which are all beyond the arrows
    if _is_flag_half(before) and _is_flag_half(this):
        start = at
        while start > 0 and _is_flag_half(text[start - 1]):
            start -= 1
        return (at - start) % 2 == 1
    # Hangul: leading consonants, vowels, trailing consonants, in this order.
    leading, vowel = "\u1100" <= before <= "\u115f", "\u1160" <= before <= "\u11a7"
    trailing = "\u11a8" <= before <= "\u11ff"
    syllable = "\uac00" <= before <= "\ud7a3"
    if "\u1100" <= this <= "\u115f":
        return leading
    if "\u1160" <= this <= "\u11a7":
        return leading or vowel or (syllable and (ord(before) - 0xAC00) % 28 == 0)
    if "\u11a8" <= this <= "\u11ff":
        return vowel or trailing or syllable
    return leading and "\uac00" <= this <= "\ud7a3"


def _is_flag_half(symbol: str) -> bool:
    return "\U0001f1e6" <= symbol <= "\U0001f1ff"
