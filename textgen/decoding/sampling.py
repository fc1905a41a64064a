"""Logits to the next id: pure functions, on any backend.

The order is the field's: what is added to the logits, the penalty for repetition, the
temperature, then the filters, which rule ids out. A filter takes and returns logits.

Names of dimensions: N rows, V symbols of the vocabulary.
"""

import numbers
from typing import Any

import keras
import numpy as np
from keras import ops


def sample(
    logits: Any,
    uniforms: Any,
    temperature: Any,
    rules: dict[str, Any] | None = None,
    seen: Any = None,
) -> Any:
    """Draws one id a row from what the rules leave of `softmax(logits / temperature)`.

    Args:
        logits: float tensor of shape `(N, V)`; -inf for an id that must not be drawn.
        uniforms: float tensor of shape `(N,)`, uniform on [0, 1): all the randomness
            there is, so equal uniforms give equal ids.
        temperature: float tensor of shape `(N,)`, at least 0. At 0 the id of the
            largest logit is taken, the first of equally large ones.
        rules: dict or `None`. See `rules`, which makes it.
        seen: bool tensor of shape `(N, V)`, what a repetition penalty is for, or
            `None`.

    Returns:
        int32 tensor of shape `(N,)`.
    """
    logits = adjust(logits, rules or {}, seen)
    temperature = ops.cast(temperature, logits.dtype)
    greedy = temperature == 0
    divisor = ops.expand_dims(ops.where(greedy, 1, temperature), -1)
    # The largest logit is subtracted first: quotients then overflow only to -inf,
    # which is a probability of 0.
    scaled = (logits - ops.max(logits, axis=-1, keepdims=True)) / divisor
    scaled = restrict(scaled, rules or {})
    return ops.where(
        greedy, ops.cast(ops.argmax(logits, axis=-1), "int32"), draw(scaled, uniforms)
    )


def rules(
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    typical_p: float | None = None,
    repetition_penalty: float | None = None,
    bias: np.ndarray | None = None,
) -> dict[str, Any]:
    """Checks what is to be done to logits, and leaves out what would do nothing.

    Args:
        top_k: int, at least 1. Keep the so many most probable ids (Fan et al.,
            "Hierarchical Neural Story Generation", ACL 2018).
        top_p: float in (0, 1]. Keep the fewest ids that have this probability
            together (Holtzman et al., "The Curious Case of Neural Text Degeneration",
            ICLR 2020).
        min_p: float in [0, 1]. Keep the ids that are at least this times as probable
            as the most probable one (Nguyen et al., "Turning Up the Heat", 2024).
        typical_p: float in (0, 1]. Keep the fewest ids that have this probability
            together, those first whose information content is nearest to the mean
            (Meister et al., "Locally Typical Sampling", TACL 2023).
        repetition_penalty: float above 0. Raises the probability of ids that were seen
            before to this power (it multiplies their log probability), so above 1 there
            is less repetition. Keskar et al. ("CTRL", 2019) divide the logit instead,
            which depends on a constant that logits may have in common.
        bias: float array of shape `(V,)`, added to the logits; -inf forbids.

    Returns:
        dict of name and float32 or int32 array.

    Raises:
        ValueError: A value is out of its range, or all ids are forbidden.
    """

    def check(good: bool, name: str, value: Any, what: str) -> None:
        if not good:
            raise ValueError(f"{name}={value!r} must be {what}; leave it out for none.")

    given = {
        "repetition_penalty": repetition_penalty,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "typical_p": typical_p,
    }
    for name, value in given.items():
        good = value is None or isinstance(value, numbers.Real)
        check(good, name, value, "a number")
    result: dict[str, Any] = {}
    if bias is not None and np.any(bias):
        if not np.any(bias > -np.inf):
            raise ValueError("All symbols are forbidden, and none is left to write.")
        result["bias"] = np.asarray(bias, np.float32)
    if repetition_penalty is not None:
        good = 0 < repetition_penalty < float("inf")
        check(good, "repetition_penalty", repetition_penalty, "above 0")
        if repetition_penalty != 1:
            result["repetition_penalty"] = np.float32(repetition_penalty)
    if top_k is not None:
        check(top_k >= 1 and top_k == int(top_k), "top_k", top_k, "an integer from 1")
        result["top_k"] = np.int32(min(top_k, 2**31 - 1))
    for name, value in (("top_p", top_p), ("typical_p", typical_p)):
        if value is not None:
            check(0 < value <= 1, name, value, "above 0 and at most 1")
            if value < 1:
                result[name] = np.float32(value)
    if min_p is not None:
        check(0 <= min_p <= 1, "min_p", min_p, "from 0 to 1")
        if min_p > 0:
            result["min_p"] = np.float32(min_p)
    return result


def adjust(logits: Any, rules: dict[str, Any], seen: Any = None) -> Any:
    """Adds the bias to logits, `(N, V)`, and applies the repetition penalty.

    Returns:
        Logits of at least single precision.
    """
    logits = at_least_float32(logits)
    if "bias" in rules:
        logits = logits + ops.cast(rules["bias"], logits.dtype)
    if "repetition_penalty" in rules:
        # Networks that return probabilities have no other logits than these.
        logits = ops.log_softmax(logits, axis=-1)
        penalty = ops.cast(rules["repetition_penalty"], logits.dtype)
        logits = ops.where(seen, logits * penalty, logits)
    return logits


def restrict(logits: Any, rules: dict[str, Any]) -> Any:
    """Applies the filters among the rules to logits, `(N, V)`, one after another."""
    for name, filter_ in FILTERS.items():
        if name in rules:
            logits = filter_(logits, rules[name])
    return logits


def top_k(logits: Any, k: Any) -> Any:
    """Rules out all but the `k` largest logits; of equal ones, the first are kept."""
    _, ranks = _order(-logits)
    return _keep(logits, ranks < k)


def top_p(logits: Any, p: Any) -> Any:
    """Rules out all but the fewest most probable ids of probability `p` together."""
    return _keep(logits, _fewest(ops.softmax(logits, axis=-1), -logits, p))


def min_p(logits: Any, p: Any) -> Any:
    """Rules out ids of less than `p` times the largest probability."""
    # Compared as logits, nothing is lost of small probabilities.
    best = ops.max(logits, axis=-1, keepdims=True)
    return _keep(logits, logits >= best + ops.log(ops.cast(p, logits.dtype)))


def typical_p(logits: Any, p: Any) -> Any:
    """Rules out all but the fewest ids of probability `p` that are most typical."""
    log_probabilities = ops.log_softmax(logits, axis=-1)
    probabilities = ops.exp(log_probabilities)
    possible = probabilities > 0
    information = ops.where(possible, -log_probabilities, 0)
    entropy = ops.sum(probabilities * information, axis=-1, keepdims=True)
    distance = ops.where(possible, ops.absolute(information - entropy), np.inf)
    return _keep(logits, possible & _fewest(probabilities, distance, p))


FILTERS = {"top_k": top_k, "top_p": top_p, "min_p": min_p, "typical_p": typical_p}


def draw(logits: Any, uniforms: Any) -> Any:
    """Draws one id a row from `softmax(logits)`, by inverting its cumulative sum.

    Args:
        logits: float tensor of shape `(N, V)`.
        uniforms: float tensor of shape `(N,)`, uniform on [0, 1).

    Returns:
        int32 tensor of shape `(N,)`. An id of probability 0 is never drawn.
    """
    # Not divided by their sum: the sum is the last of the cumulative ones.
    probabilities = ops.exp(logits - ops.max(logits, axis=-1, keepdims=True))
    cumulative = ops.cumsum(probabilities, axis=-1)
    uniforms = ops.cast(ops.expand_dims(uniforms, -1), cumulative.dtype)
    # A rounded sum need not grow monotonically, so ids of probability 0 are ruled out
    # by name, and where no id is left the most probable one is taken.
    beyond = (cumulative > uniforms * cumulative[:, -1:]) & (probabilities > 0)
    return ops.cast(
        ops.where(
            ops.any(beyond, axis=-1),
            ops.argmax(ops.cast(beyond, "int32"), axis=-1),
            ops.argmax(probabilities, axis=-1),
        ),
        "int32",
    )


def log_probability(logits: Any, ids: Any) -> Any:
    """The log probability, in nats, of an id a row.

    Args:
        logits: float tensor of shape `(…, V)`.
        ids: integer tensor of shape `(…)`.

    Returns:
        float tensor of shape `(…)`, of at least single precision.
    """
    logits = ops.log_softmax(at_least_float32(logits), axis=-1)
    return ops.take_along_axis(logits, ops.expand_dims(ids, -1), axis=-1)[..., 0]


def at_least_float32(logits: Any) -> Any:
    """Casts half-precision logits to float32, and leaves others as they are."""
    return ops.cast(logits, keras.backend.result_type(logits.dtype, "float32"))


def _keep(logits: Any, kept: Any) -> Any:
    return ops.where(kept, logits, -np.inf)


def _order(keys: Any) -> tuple[Any, Any]:
    """The ids by rising key, and the rank of each id, from 0; both `(N, V)`."""
    order = ops.argsort(keys, axis=-1)
    return order, ops.argsort(order, axis=-1)


def _fewest(probabilities: Any, keys: Any, p: Any) -> Any:
    """Whether an id is of the first by key that have probability `p` together."""
    order, ranks = _order(keys)
    ordered = ops.take_along_axis(probabilities, order, axis=-1)
    # What came before decides: the first is kept, and the one that reaches p.
    before = ops.cumsum(ordered, axis=-1) - ordered
    kept = before < ops.cast(p, probabilities.dtype)
    return ops.take_along_axis(kept, ranks, axis=-1)
