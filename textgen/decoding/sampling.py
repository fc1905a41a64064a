"""From logits to the next id: pure functions, on any backend.

The operations have the usual order: bias, repetition penalty, temperature, then the
filters. A filter takes logits, and returns logits with excluded ids set to -inf.

Names of dimensions: N rows, V tokens of the vocabulary.
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
    """Draws one id per row from `softmax(logits / temperature)`, changed by the rules.

    Args:
        logits: float tensor of shape `(N, V)`; -inf for an id that must not be drawn.
        uniforms: float tensor of shape `(N,)`, uniform on [0, 1). It is the only source
            of randomness: equal uniforms give equal ids.
        temperature: float tensor of shape `(N,)`, at least 0. 0 selects the largest
            logit, and the first of equally large ones.
        rules: dict or `None`. Result of `make_rules`.
        seen: bool tensor of shape `(N, V)`, which marks the ids that get a repetition
            penalty, or `None`.

    Returns:
        int32 tensor of shape `(N,)`.
    """
    logits = adjust(logits, rules or {}, seen)
    temperature = ops.cast(temperature, logits.dtype)
    greedy = temperature == 0
    divisor = ops.expand_dims(ops.where(greedy, 1, temperature), -1)
    # The largest logit is subtracted first: quotients can then overflow to -inf only,
    # which is the probability 0.
    scaled = (logits - ops.max(logits, axis=-1, keepdims=True)) / divisor
    scaled = restrict(scaled, rules or {})
    return ops.where(
        greedy, ops.cast(ops.argmax(logits, axis=-1), "int32"), draw(scaled, uniforms)
    )


def make_rules(
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    typical_p: float | None = None,
    repetition_penalty: float | None = None,
    bias: np.ndarray | None = None,
) -> dict[str, Any]:
    """Checks the options that change logits, and omits those without effect.

    Args:
        top_k: int, at least 1. Keep the K most probable ids (Fan et al., "Hierarchical
            Neural Story Generation", ACL 2018).
        top_p: float in (0, 1]. Keep the smallest set of most probable ids with at least
            this total probability (Holtzman et al., "The Curious Case of Neural Text
            Degeneration", ICLR 2020).
        min_p: float in [0, 1]. Keep ids with at least this fraction of the probability
            of the most probable id (Nguyen et al., "Turning Up the Heat", 2024).
        typical_p: float in (0, 1]. Keep the smallest set of ids with at least this
            total probability, in the order of the distance of their information content
            from the entropy (Meister et al., "Locally Typical Sampling", TACL 2023).
        repetition_penalty: float above 0. Multiplies the log probability of ids that
            were seen before, so values above 1 reduce repetition. Keskar et al.
            ("CTRL", 2019) divide the logit instead, which depends on an arbitrary
            constant that all logits may share.
        bias: float array of shape `(V,)`, added to the logits; -inf forbids an id.

    Returns:
        dict of name and float32 or int32 array.

    Raises:
        ValueError: A value is out of range, or all ids are forbidden.
    """

    def check(good: bool, name: str, value: Any, what: str) -> None:
        if not good:
            raise ValueError(
                f"{name}={value!r} must be {what}; omit it to switch it off."
            )

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
            raise ValueError("All tokens are forbidden: allow at least one.")
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
        Logits in at least float32.
    """
    logits = at_least_float32(logits)
    if "bias" in rules:
        logits = logits + ops.cast(rules["bias"], logits.dtype)
    if "repetition_penalty" in rules:
        # Log probabilities are the same for networks that return probabilities.
        logits = ops.log_softmax(logits, axis=-1)
        penalty = ops.cast(rules["repetition_penalty"], logits.dtype)
        logits = ops.where(seen, logits * penalty, logits)
    return logits


def restrict(logits: Any, rules: dict[str, Any]) -> Any:
    """Applies the filters of the rules to logits, `(N, V)`, in a fixed order."""
    for name, filter_ in FILTERS.items():
        if name in rules:
            logits = filter_(logits, rules[name])
    return logits


def top_k(logits: Any, k: Any) -> Any:
    """Keeps the `k` largest logits; of equal logits, the first ones."""
    _, ranks = _order(-logits)
    return _keep(logits, ranks < k)


def top_p(logits: Any, p: Any) -> Any:
    """Keeps the smallest set of most probable ids with total probability `p`."""
    return _keep(logits, _fewest(ops.softmax(logits, axis=-1), -logits, p))


def min_p(logits: Any, p: Any) -> Any:
    """Keeps ids with at least `p` times the largest probability."""
    # Logits are compared because small probabilities would be rounded.
    best = ops.max(logits, axis=-1, keepdims=True)
    return _keep(logits, logits >= best + ops.log(ops.cast(p, logits.dtype)))


def typical_p(logits: Any, p: Any) -> Any:
    """Keeps the smallest set of most typical ids with total probability `p`."""
    log_probabilities = ops.log_softmax(logits, axis=-1)
    probabilities = ops.exp(log_probabilities)
    possible = probabilities > 0
    information = ops.where(possible, -log_probabilities, 0)
    entropy = ops.sum(probabilities * information, axis=-1, keepdims=True)
    distance = ops.where(possible, ops.absolute(information - entropy), np.inf)
    return _keep(logits, possible & _fewest(probabilities, distance, p))


FILTERS = {"top_k": top_k, "top_p": top_p, "min_p": min_p, "typical_p": typical_p}


def draw(logits: Any, uniforms: Any) -> Any:
    """Draws one id per row from `softmax(logits)`, by inverting its cumulative sum.

    Args:
        logits: float tensor of shape `(N, V)`.
        uniforms: float tensor of shape `(N,)`, uniform on [0, 1).

    Returns:
        int32 tensor of shape `(N,)`. Ids with probability 0 are never drawn.
    """
    # Not normalised: the last cumulative sum is used as the total below.
    probabilities = ops.exp(logits - ops.max(logits, axis=-1, keepdims=True))
    cumulative = ops.cumsum(probabilities, axis=-1)
    uniforms = ops.cast(ops.expand_dims(uniforms, -1), cumulative.dtype)
    # Rounded sums may not increase monotonically, so ids with probability 0 are
    # excluded explicitly. If no id is left, the most probable id is selected.
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
    """Returns the log probability, in nats, of one id per row.

    Args:
        logits: float tensor of shape `(…, V)`.
        ids: integer tensor of shape `(…)`.

    Returns:
        float tensor of shape `(…)`, at least float32.
    """
    logits = ops.log_softmax(at_least_float32(logits), axis=-1)
    return ops.take_along_axis(logits, ops.expand_dims(ids, -1), axis=-1)[..., 0]


def at_least_float32(logits: Any) -> Any:
    """Casts half-precision logits to float32; others are unchanged."""
    return ops.cast(logits, keras.backend.result_type(logits.dtype, "float32"))


def _keep(logits: Any, kept: Any) -> Any:
    return ops.where(kept, logits, -np.inf)


def _order(keys: Any) -> tuple[Any, Any]:
    """Returns the ids in ascending order of key, and their ranks; both `(N, V)`."""
    order = ops.argsort(keys, axis=-1)
    return order, ops.argsort(order, axis=-1)


def _fewest(probabilities: Any, keys: Any, p: Any) -> Any:
    """Returns which ids, in the order of key, reach the total probability `p`."""
    order, ranks = _order(keys)
    ordered = ops.take_along_axis(probabilities, order, axis=-1)
    # The sum before an id decides: the first id and the id that reaches `p` are kept.
    before = ops.cumsum(ordered, axis=-1) - ordered
    kept = before < ops.cast(p, probabilities.dtype)
    return ops.take_along_axis(kept, ranks, axis=-1)


def mark(seen: np.ndarray, rows: np.ndarray, ids: np.ndarray) -> None:
    """Marks tokens that get a repetition penalty; labels and start steps get none.

    Args:
        seen: bool array of shape `(N, V)`. It is changed.
        rows: integer array of row numbers.
        ids: integer array of the same shape.
    """
    tokens = (ids >= 0) & (ids < seen.shape[1])
    seen[rows[tokens], ids[tokens]] = True
