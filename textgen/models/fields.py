"""Which values the fields of a configuration may have, by the name of the field.

The names are those of Keras. A field that is not listed here is refused. Each rule is a
function `(checker, value, where)` that raises ValueError; `checker` is a
`textgen.models.configuration.Checker`.
"""

import math
import reprlib
from collections.abc import Callable, Iterable
from typing import Any

from textgen.layers.cells import CELLS
from textgen.text.levels import LEVELS

Rule = Callable[[Any, Any, str], None]

# Configurations contain no larger numbers; a larger one would overflow somewhere.
_LARGEST = 2**31 - 1

POLICIES = (
    *("float16", "bfloat16", "float32", "float64"),
    *("mixed_float16", "mixed_bfloat16"),
)
_DTYPES = (*POLICIES, "bool", "int8", "uint8", "int16", "uint16", "int32", "int64")


# === Rules ===


def refuse(value: Any, where: str, what: str) -> None:
    """Raises ValueError: a field has a value that it must not have."""
    raise ValueError(f"{where}={reprlib.repr(value)} must be {what}")


def _rule(what: str, good: Callable[[Any], bool]) -> Rule:
    def check(checker: Any, value: Any, where: str) -> None:
        if not good(value):
            refuse(value, where, what)

    return check


def integer(least: int = -_LARGEST, most: int = _LARGEST) -> Rule:
    """Returns the rule for an integer; `true` and 1.0 are none."""
    what = "an integer" if least < 0 else f"an integer from {least:,} to {most:,}"
    return _rule(what, lambda value: type(value) is int and least <= value <= most)


def number(
    least: float = -math.inf, most: float = math.inf, above: float = -math.inf
) -> Rule:
    """Returns the rule for a finite number from `least` to `most`, above `above`."""

    def good(value: Any) -> bool:
        return (
            type(value) in (int, float)
            and abs(value) < math.inf
            and least <= value <= most
            and value > above
        )

    limits = [
        f"{word} {limit:g}"
        for word, limit in (
            ("at least", least),
            ("above", above),
            ("at most", most),
        )
        if abs(limit) < math.inf
    ]
    return _rule(" and ".join(["a finite number", *limits]), good)


def one_of(*values: str) -> Rule:
    """Returns the rule for one of several strings."""
    names = ", ".join(map(repr, values))
    return _rule(
        f"one of {names}" if len(values) < 9 else "one of the names that are allowed",
        lambda value: type(value) is str and value in values,
    )


def size(limit: str) -> Rule:
    """Returns the rule for a positive integer up to one of the limits of `load`."""

    def check(checker: Any, value: Any, where: str) -> None:
        integer(1, checker.limits[limit])(checker, value, where)

    return check


def optional(rule: Rule) -> Rule:
    """Returns the rule for `null`, or for a value that follows another rule."""

    def check(checker: Any, value: Any, where: str) -> None:
        if value is not None:
            rule(checker, value, where)

    return check


def each(rule: Rule, most: int = _LARGEST) -> Rule:
    """Returns the rule for a list of values that follow another rule."""

    def check(checker: Any, value: Any, where: str) -> None:
        if type(value) is not list or len(value) > most:
            refuse(value, where, "a list" if most == _LARGEST else "a short list")
        for index, item in enumerate(value):
            rule(checker, item, f"{where}[{index}]")

    return check


def one_or_more(rule: Rule, most: int = 16) -> Rule:
    """Returns the rule for a value, or a list of values, that follow another rule."""

    def check(checker: Any, value: Any, where: str) -> None:
        (each(rule, most) if type(value) is list else rule)(checker, value, where)

    return check


def role(name: str) -> Rule:
    """Returns the rule for a serialized Keras object: a layer, an initializer, …"""
    return lambda checker, value, where: checker.check_object(value, where, name)


def method(name: str) -> Rule:
    """Returns the rule that a method of the checker contains."""
    return lambda checker, value, where: getattr(checker, name)(value, where)


ANY_TEXT = _rule("a string", lambda value: type(value) is str)
BOOL = _rule("true or false", lambda value: type(value) is bool)
TEXT = _rule(
    "a string of at most 1,000 characters",
    lambda value: type(value) is str and len(value) <= 1000,
)
NULL = _rule("null", lambda value: value is None)
NUMBER, POSITIVE, NOT_NEGATIVE = number(), number(above=0), number(least=0)
FRACTION = number(least=0, most=1)
AXIS = integer(-16, 16)
UNITS = size("units")
STEPS = size("steps")
DTYPE = one_of(*_DTYPES)
COUNT = integer(1, 10_000)  # of thresholds and so on in a metric


def _dtype(checker: Any, value: Any, where: str) -> None:
    (DTYPE if type(value) is str else role("dtype"))(checker, value, where)


def _shape(checker: Any, value: Any, where: str) -> None:
    """A shape of a few dimensions; `null` is an unknown dimension."""
    each(optional(integer(-1)), 8)(checker, value, where)


def _batch_shape(checker: Any, value: Any, where: str) -> None:
    _shape(checker, value, where)
    sizes = [size("batch_size"), size("steps"), *[size("units")] * 6]
    for index, (rule, item) in enumerate(zip(sizes, value, strict=False)):
        optional(rule)(checker, item, f"{where}[{index}]")


def _padding(checker: Any, value: Any, where: str) -> None:
    if type(value) is str:
        return one_of("valid", "same", "causal")(checker, value, where)
    return one_or_more(integer(0, checker.limits["steps"]), 2)(checker, value, where)


def _rules(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


def _suffixed(suffix: str, prefixes: Iterable[str], rule: Rule) -> dict[str, Rule]:
    return {f"{prefix}_{suffix}": rule for prefix in prefixes}


_WEIGHTS = (
    *("kernel", "recurrent", "bias", "beta", "gamma", "moving_mean"),
    *("moving_variance", "embeddings", "alpha", "depthwise", "pointwise"),
)
_OBJECT = {"name": TEXT, "trainable": BOOL, "dtype": _dtype}

# === Fields by role ===

LAYER: dict[str, Rule] = {
    **_OBJECT,
    **_rules(
        BOOL,
        "return_sequences return_state go_backwards stateful unroll use_bias "
        "zero_output_for_mask reset_after unit_forget_bias center scale synchronized "
        "renorm mask_zero rms_scaling use_scale normalize keepdims sparse ragged "
        "optional use_gate flash_attention",
    ),
    **_rules(UNITS, "units filters input_dim output_dim key_dim num_heads size"),
    **_rules(optional(UNITS), "value_dim depth_multiplier groups sliding_window"),
    **_rules(STEPS, "n"),
    **_rules(one_or_more(STEPS), "pool_size kernel_size dilation_rate"),
    **_rules(optional(one_or_more(STEPS)), "strides"),
    **_rules(FRACTION, "dropout recurrent_dropout weight_dropout rate momentum"),
    **_rules(FRACTION, "renorm_momentum"),
    **_rules(NOT_NEGATIVE, "epsilon stddev"),
    **_rules(NUMBER, "alpha negative_slope threshold mask_value"),
    **_rules(optional(NUMBER), "max_value"),
    **_rules(optional(integer()), "seed"),
    **_rules(optional(one_or_more(AXIS)), "axis axes attention_axes shared_axes"),
    **_rules(optional(one_or_more(UNITS)), "output_shape"),
    **_rules(NULL, "quantization_config renorm_clipping"),
    **_rules(optional(_shape), "noise_shape"),
    **_rules(each(integer(-1), 8), "target_shape dims"),
    **_suffixed("initializer", _WEIGHTS, role("initializer")),
    **_suffixed("regularizer", (*_WEIGHTS, "activity"), optional(role("regularizer"))),
    **_suffixed("constraint", _WEIGHTS, optional(role("constraint"))),
    **_rules(method("check_activation"), "activation recurrent_activation"),
    **_rules(role("layer"), "layer backward_layer"),
    "batch_shape": _batch_shape,
    "padding": _padding,
    "cropping": _padding,
    "score_mode": one_of("dot", "concat"),
    "merge_mode": optional(one_of("sum", "mul", "concat", "ave")),
    "data_format": one_of("channels_last", "channels_first"),
}

FUNCTIONAL: dict[str, Rule] = {
    **_OBJECT,
    "layers": method("check_graph"),
    "input_layers": method("check_ends"),
    "output_layers": method("check_ends"),
}
SEQUENTIAL: dict[str, Rule] = {
    **_OBJECT,
    "layers": each(role("layer")),
    "build_input_shape": optional(_batch_shape),
}
# Operations that Keras adds to a graph for its masks.
OPERATION: dict[str, Rule] = {
    "name": TEXT,
    "axis": optional(one_or_more(AXIS)),
    "keepdims": BOOL,
    "dtype": optional(DTYPE),
}

INITIALIZER: dict[str, Rule] = {
    **_rules(optional(integer()), "seed"),
    **_rules(optional(one_or_more(AXIS)), "input_axes output_axes"),
    **_rules(NUMBER, "gain mean minval maxval"),
    **_rules(NOT_NEGATIVE, "stddev scale"),
    "value": method("check_constant"),
    "mode": one_of("fan_in", "fan_out", "fan_avg"),
    "distribution": one_of(
        "normal", "truncated_normal", "untruncated_normal", "uniform"
    ),
}
REGULARIZER: dict[str, Rule] = {
    **_rules(NOT_NEGATIVE, "l1 l2 factor"),
    "mode": one_of("rows", "columns"),
}
CONSTRAINT: dict[str, Rule] = {
    **_rules(NOT_NEGATIVE, "max_value min_value rate"),
    "axis": one_or_more(AXIS),
}
DTYPE_POLICY: dict[str, Rule] = {"name": one_of(*_DTYPES)}
LARGEST_RATE = 1e6  # a larger learning rate is a mistake; 0 is the start of a warmup
_RATE = number(least=0, most=LARGEST_RATE)

OPTIMIZER: dict[str, Rule] = {
    "name": TEXT,
    "learning_rate": method("check_learning_rate"),
    **_rules(optional(NOT_NEGATIVE), "weight_decay adam_weight_decay"),
    **_rules(optional(POSITIVE), "clipnorm clipvalue global_clipnorm"),
    **_rules(optional(POSITIVE), "loss_scale_factor initial_scale"),
    **_rules(
        BOOL,
        "use_ema amsgrad nesterov centered relative_step exclude_embeddings",
    ),
    **_rules(
        FRACTION, "ema_momentum rho beta_1 beta_2 adam_beta_1 adam_beta_2 momentum"
    ),
    **_rules(optional(integer(1)), "ema_overwrite_frequency dynamic_growth_steps"),
    **_rules(optional(integer(2)), "gradient_accumulation_steps"),
    **_rules(
        NOT_NEGATIVE, "epsilon epsilon_1 epsilon_2 initial_accumulator_value beta"
    ),
    **_rules(
        NOT_NEGATIVE,
        "l1_regularization_strength l2_regularization_strength "
        "l2_shrinkage_regularization_strength clip_threshold adam_lr_ratio rms_rate",
    ),
    **_rules(NUMBER, "learning_rate_power beta_2_decay muon_a muon_b muon_c"),
    **_rules(integer(0), "warmup_steps"),
    "ns_steps": integer(0, 1000),
    "exclude_layers": each(TEXT, 1000),
    "inner_optimizer": role("optimizer"),
}
SCHEDULE: dict[str, Rule] = {
    "name": optional(TEXT),
    **_rules(_RATE, "initial_learning_rate end_learning_rate"),
    **_rules(optional(_RATE), "warmup_target"),
    **_rules(number(above=0, most=1e12), "decay_steps first_decay_steps"),
    **_rules(optional(number(least=0, most=1e12)), "warmup_steps"),
    **_rules(NOT_NEGATIVE, "alpha decay_rate power t_mul m_mul"),
    **_rules(BOOL, "staircase cycle"),
    "boundaries": each(NUMBER, 10_000),
    "values": each(_RATE, 10_000),
}
LOSS: dict[str, Rule] = {
    **_OBJECT,
    "reduction": optional(
        one_of("sum", "sum_over_batch_size", "mean", "mean_with_sample_weight", "none")
    ),
    **_rules(optional(BOOL), "from_logits"),
    **_rules(BOOL, "apply_class_balancing remove_diagonal"),
    **_rules(FRACTION, "label_smoothing"),
    **_rules(one_or_more(NUMBER, 1 << 20), "alpha"),
    **_rules(NUMBER, "gamma q margin beta delta"),
    **_rules(optional(one_or_more(AXIS)), "axis"),
    **_rules(optional(integer()), "ignore_class"),
    "fn": role("loss"),
}
METRIC: dict[str, Rule] = {
    **LOSS,
    **_rules(COUNT, "num_thresholds k"),
    **_rules(integer(1, 256), "num_classes"),  # a metric has a matrix of this size
    **_rules(integer(0, 10_000), "num_regressors"),
    **_rules(optional(COUNT), "num_labels top_k"),
    **_rules(optional(integer(0)), "class_id"),
    **_rules(BOOL, "multi_label sparse_y_true sparse_y_pred"),
    **_rules(FRACTION, "recall precision specificity sensitivity"),
    **_rules(optional(one_or_more(NUMBER, 10_000)), "threshold thresholds"),
    **_rules(optional(one_or_more(NUMBER, 10_000)), "label_weights"),
    "target_class_ids": each(integer(0), 10_000),
    "curve": one_of("ROC", "PR"),
    "summation_method": one_of("interpolation", "majoring", "minoring"),
    "average": optional(one_of("micro", "macro", "weighted")),
    "class_aggregation": optional(
        one_of("uniform_average", "variance_weighted_average")
    ),
    "fn": role("metric"),
}

COMPILATION: dict[str, Rule] = {
    "optimizer": role("optimizer"),
    "loss": method("check_losses"),
    "loss_weights": optional(one_or_more(NUMBER)),
    "metrics": method("check_metrics"),
    "weighted_metrics": method("check_metrics"),
    **_rules(BOOL, "run_eagerly jit_compile"),
    "steps_per_execution": integer(1),
    "frozen": each(TEXT),
    "sampled_softmax": integer(1),
}

# === textgen's models ===

VOCABULARY: dict[str, Rule] = {
    "level": one_of(*LEVELS),
    "unknown": TEXT,
    "symbols": each(ANY_TEXT),
}
_MODEL = {
    "name": TEXT,
    "dtype": role("dtype"),
    "vocabulary": method("check_vocabulary"),
    "start_step": BOOL,
    "end_token": optional(integer(0)),
    "notes": _rule("an object", lambda value: type(value) is dict),
}
LANGUAGE_MODEL: dict[str, Rule] = {
    **_MODEL,
    "cell": one_of(*CELLS),
    "units": method("check_units"),
    **_rules(
        number(least=0, most=math.nextafter(1, 0)),
        "dropout recurrent_dropout weight_dropout",
    ),
    "embedding": optional(UNITS),
    **_rules(BOOL, "layer_norm tie_weights return_sequences stateful"),
    **_rules(method("check_activation_name"), "activation recurrent_activation"),
    "batch_size": optional(size("batch_size")),
    **_rules(one_of("epoch", "never"), "reset_policy reset_states"),
    "sequence_length": STEPS,
    "initializer": optional(method("check_initializer")),
    **_rules(each(TEXT), "labels frozen"),
}
KERAS_WRITER: dict[str, Rule] = {
    **_MODEL,
    "network": role("network"),
    "input": one_of("ids", "one_hot"),
    "output": one_of("logits", "probabilities"),
    "sequence_length": STEPS,
    "padding": optional(ANY_TEXT),
}
# Fields that files of older versions do not contain.
NEW_FIELDS = {
    *("start_step", "end_token", "notes", "frozen", "initializer", "weight_dropout"),
    *("reset_policy", "reset_states"),
}
OPTIONAL = {"reset_states", "labels"}
