"""Beam search: the most probable continuations of a prompt.

The list of beams is in Python; one compiled step computes each new id.

Names of dimensions: V tokens of the vocabulary.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from textgen import tracing
from textgen.decoding import sampling
from textgen.decoding.loop import Step

# The log probability of a continuation, its ids, and the log probability of each id.
_Beam = tuple[float, list[int], list[float]]


class BeamSearch:
    """Beam search with a step function, which is compiled once and then reused.

    Args:
        step: Callable. As for `textgen.decoding.loop.Decoder`.
        variables: list of the `keras.Variable`s that `step` reads.
        key: Hashable or `None`. As for `textgen.decoding.loop.Decoder`.
    """

    def __init__(
        self, step: Step, variables: Sequence = (), key: Hashable | None = None
    ) -> None:
        self._step = tracing.compiled(step, variables, key and ("step", key))
        self._advance = tracing.compiled(
            _make_advance(step), variables, key and ("advance", key)
        )

    def search(
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

        At each step, the `num_beams` most probable continuations are kept. Finished
        continuations (ended, or with `max_new_tokens` ids) are ranked by their log
        probability divided by `length ** length_penalty`.

        Args:
            prompt: integer array of shape `(steps,)`, with at least one id.
            carry: The carry before the first id, for one row.
            max_new_tokens: int. Maximum number of ids of a continuation.
            num_beams: int, at least 1.
            length_penalty: float. Above 0, a longer continuation is preferred to an
                equally probable shorter one.
            ended: Callable. Takes the ids of a continuation; returns whether it has
                ended.
            rules: dict or `None`. As for `Decoder.stream`; filters are ignored.
            seen: As for `Decoder.stream`, for one row.

        Returns:
            At most `num_beams` continuations, the best first: ids, and their log
            probabilities in nats, computed from the unmodified logits.
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
            for read in prompt[:-1]:
                sampling.mark(seen, np.arange(num_beams), np.full(num_beams, read))
        parents = np.arange(num_beams, dtype=np.int32)
        # All beams are equal at first, so only one of them is expanded.
        running: list[_Beam] = [(0.0, [], [])]
        finished: list[_Beam] = []
        for length in range(1, max_new_tokens + 1):
            if seen is not None:
                seen = seen[parents]
                sampling.mark(seen, np.arange(num_beams), ids)
            adjusted, raw, carry = self._advance(ids, parents, carry, rules, seen)
            adjusted, raw = map(ops.convert_to_numpy, (adjusted, raw))
            totals = np.array([total for total, _, _ in running], np.float64)[:, None]
            totals = totals + adjusted[: len(running)]
            last = length == max_new_tokens
            parents, ids, following, new = self._expand(
                totals, raw, running, last, ended
            )
            finished += [
                (total / length**length_penalty, *candidate) for total, candidate in new
            ]
            running = following
            finished = sorted(finished, key=lambda each: -each[0])[:num_beams]
            if not running:
                break
            # Upper bound of the running beams: all further ids have probability 1.
            longest = max_new_tokens if length_penalty > 0 else length
            best = running[0][0] / longest**length_penalty
            if len(finished) == num_beams and best <= finished[-1][0]:
                break
        return [(ids, raw) for _, ids, raw in finished]

    def _expand(
        self,
        totals: np.ndarray,
        raw: np.ndarray,
        running: list[_Beam],
        last: bool,
        ended: Callable[[list[int]], bool],
    ) -> tuple[np.ndarray, np.ndarray, list[_Beam], list]:
        """Extends the most probable beams by one id each.

        Args:
            totals: float64 array of shape `(beams, V)`. Log probability of each beam
                followed by each id.
            raw: float array of shape `(num_beams, V)`. Log probabilities of the ids,
                computed from the unmodified logits.
            running: list. The beams so far.
            last: bool. Whether all continuations reach `max_new_tokens` at this step.
            ended: Callable. As for `search`.

        Returns:
            The rows of the parents, `(num_beams,)`, their next ids, the running beams,
            and the finished continuations with their log probabilities.
        """
        num_beams = len(raw)
        parents, ids = np.zeros((2, num_beams), np.int32)
        following: list[_Beam] = []
        new: list = []
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
                new.append((total, candidate))
            else:
                parents[len(following)], ids[len(following)] = beam, index
                following.append((total, *candidate))
        return parents, ids, following, new


def _make_advance(step: Step) -> Callable:
    def advance(
        ids: Any, parents: Any, carry: Any, rules: dict[str, Any], seen: Any
    ) -> tuple:
        """Takes one step from the parents' rows; returns log probabilities."""
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
