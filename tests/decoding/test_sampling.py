import math

import numpy as np
import pytest
from keras import ops

from textgen import tracing
from textgen.decoding import sampling

BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))
ROWS = 100_000
COMPILED = tracing.compiled(sampling.sample, ())  # as the decoding loop has it


def sample(logits, uniforms, temperature, function=sampling.sample):
    """Runs `sampling.sample` on rows; one uniform or temperature goes for all."""
    logits = ops.convert_to_tensor(logits)
    rows = logits.shape[0]
    uniforms = np.broadcast_to(np.float32(uniforms), rows)
    temperature = np.broadcast_to(np.float32(temperature), rows)
    return ops.convert_to_numpy(function(logits, uniforms, temperature))


def softmax(logits):
    logits = np.asarray(logits, np.float64)
    exps = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def assert_distributed(ids, probabilities):
    """Chi-square test at the level of one in 10,000."""
    possible = probabilities > 0
    counts = np.bincount(ids, minlength=len(probabilities))
    assert counts[~possible].sum() == 0
    expected = probabilities[possible] * len(ids)
    assert expected.min() > 5, "the chi-square test needs more draws"
    statistic = ((counts[possible] - expected) ** 2 / expected).sum()
    freedom = possible.sum() - 1
    # Quantile of the chi-square distribution after Wilson and Hilferty (1931).
    ninth = 2 / (9 * freedom)
    critical = freedom * (1 - ninth + 3.719 * math.sqrt(ninth)) ** 3
    assert statistic < critical


@pytest.mark.parametrize(
    "logits",
    [
        [0.0, 0.0, 0.0, 0.0],
        [2.0, -1.0, 0.5, -3.0, 1.0, 0.0],
        [-math.inf, 0.0, 1.0, -math.inf, 2.0],
        [1e4, 1e4 - 1.0, 1e4 - 2.0],
        list(np.linspace(-3, 3, 100)),
    ],
)
def test_draw_follows_softmax(logits):
    uniforms = np.random.default_rng(1).random(ROWS, np.float32)
    rows = np.broadcast_to(np.float32(logits), (ROWS, len(logits)))
    ids = ops.convert_to_numpy(sampling.draw(ops.convert_to_tensor(rows), uniforms))
    assert ids.dtype == np.int32
    assert_distributed(ids, softmax(logits))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_sample_follows_tempered_softmax(temperature):
    logits = np.array([1.0, 0.0, 2.0, -0.5], np.float32)
    uniforms = np.random.default_rng(2).random(ROWS, np.float32)
    ids = sample(np.broadcast_to(logits, (ROWS, 4)), uniforms, temperature)
    assert ids.dtype == np.int32
    assert_distributed(ids, softmax(logits / np.float64(temperature)))


def test_draw_inverts_cumulative_sum():
    probabilities = np.array([0.125, 0.5, 0.0, 0.25, 0.125])
    with np.errstate(divide="ignore"):
        logits = np.log(probabilities).astype(np.float32)
    # The middle of each id's part of [0, 1).
    uniforms = np.float32([0.0625, 0.375, 0.75, 0.9375])
    rows = ops.convert_to_tensor(np.broadcast_to(logits, (4, 5)))
    assert list(ops.convert_to_numpy(sampling.draw(rows, uniforms))) == [0, 1, 3, 4]


def test_zero_temperature_takes_first_of_the_largest():
    logits = np.array(
        [[0.0, 3.0, 3.0], [5.0, 5.0, 5.0], [-2.0, -3.0, -1.0], [-math.inf, -7.0, -7.0]],
        np.float32,
    )
    for uniform in (0.0, 0.5, BELOW_ONE):
        assert list(sample(logits, uniform, 0.0)) == [1, 0, 2, 1]


def test_temperature_is_per_row():
    logits = np.tile(np.float32([0.0, 1.0, 2.0]), (3, 1))
    # 0.1 lies in the part of id 0 at a high temperature, of id 1 at 1, of id 2 near 0.
    uniforms, temperatures = np.float32([0.1, 0.1, 0.1]), np.float32([1e6, 1.0, 0.1])
    cumulative = np.cumsum(softmax(logits / temperatures[:, np.newaxis]), axis=-1)
    expected = (cumulative > uniforms[:, np.newaxis]).argmax(axis=-1)
    assert len(set(expected)) == 3
    assert list(sample(logits, uniforms, temperatures)) == list(expected)


@pytest.mark.parametrize("function", [sampling.sample, COMPILED], ids=["eager", "xla"])
@pytest.mark.parametrize("uniform", [0.0, 0.5, BELOW_ONE])
@pytest.mark.parametrize("temperature", [0.0, 1e-40, 1e-6, 1e-3, 1.0, 1e6, 1e30])
def test_extreme_rows_give_possible_ids(temperature, uniform, function):
    inf = math.inf
    rows = np.array(
        [
            [1e30, -1e30, 0.0, 1.0],
            [-1e30, -1e30, -1e30, -1e30],
            [1e30, 1e30, 1e30, 1e30],
            [3e38, -3e38, 3e38, 0.0],
            [-inf, -inf, 0.0, -inf],
            [-inf, 1e30, -inf, -1e30],
            [1e-30, -1e-30, 0.0, 0.0],
            [88.0, 89.0, -104.0, -88.0],
            [0.0, 3e38, -3e38, 1.0],
        ],
        np.float32,
    )
    ids = sample(rows, uniform, temperature, function)
    assert ((ids >= 0) & (ids < 4)).all()
    assert (rows[np.arange(len(rows)), ids] > -inf).all()
    if temperature <= 1e6:  # logits 1e30 apart leave no other id a chance
        assert ids[0] == 0
        assert ids[5] == 1
        assert ids[8] == 1


@pytest.mark.parametrize("size", [3, 1000, 50_000])
def test_uniforms_at_the_ends_give_possible_ids(size):
    logits = np.random.default_rng(3).normal(size=size).astype(np.float32)
    logits[[0, 1, -2, -1]] = -math.inf if size > 4 else 0.0
    rows = np.tile(logits, (3, 1))
    first, tiny, last = sample(rows, np.float32([0.0, 1e-38, BELOW_ONE]), 1.0)
    possible = np.flatnonzero(logits > -math.inf)
    assert first == tiny == possible[0]
    assert last in possible
    assert last > size / 2


FLOAT64 = pytest.param("float64", marks=pytest.mark.tensorflow("float64"))


@pytest.mark.parametrize("temperature", [0.0, 1e-6, 1.0, 1e6])
def test_single_symbol_is_always_drawn(temperature):
    logits = np.float32([[-1e30], [0.0], [1e30]])
    assert list(sample(logits, BELOW_ONE, temperature)) == [0, 0, 0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", FLOAT64])
def test_logits_of_any_precision(dtype):
    # Whole numbers are exact in all of these dtypes, so the ids agree.
    logits = np.random.default_rng(4).integers(-4, 5, (2000, 7))
    uniforms = np.random.default_rng(5).random(2000, np.float32)
    cumulative = np.cumsum(softmax(logits / 2), axis=-1)
    expected = (cumulative > uniforms[:, np.newaxis]).argmax(axis=-1)
    # Uniforms beside an edge may fall on either side of it.
    clear = np.abs(cumulative - uniforms[:, np.newaxis]).min(axis=-1) > 1e-5
    ids = sample(ops.cast(ops.convert_to_tensor(logits), dtype), uniforms, 2.0)
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(ids[clear], expected[clear])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", FLOAT64])
def test_precision_is_raised_but_never_lowered(dtype):
    logits = ops.cast(ops.convert_to_tensor([[1.5]]), dtype)
    raised = sampling.at_least_float32(logits)
    assert raised.dtype == ("float64" if dtype == "float64" else "float32")
    assert float(raised[0, 0]) == 1.5


# === Rules ===


def reference(logits, temperature=1.0, seen=None, **rules):
    """The probabilities that the rules leave, one row, by definition, in float64."""
    logits = np.array(logits, np.float64)
    logits += rules.get("bias", 0)
    if penalty := rules.get("repetition_penalty"):
        logits -= np.log(np.sum(np.exp(logits)))
        logits = np.where(seen, logits * penalty, logits)
    probabilities = softmax(logits / temperature)

    def first(keys, together=None, count=None):
        kept = np.zeros(len(keys), bool)
        for index in np.argsort(keys, kind="stable"):
            if together is not None and probabilities[kept].sum() >= together:
                break
            if count is not None and kept.sum() == count:
                break
            kept[index] = True
        return kept

    for name, value in rules.items():
        if name == "top_k":
            kept = first(-probabilities, count=value)
        elif name == "top_p":
            kept = first(-probabilities, together=value)
        elif name == "min_p":
            kept = probabilities >= value * probabilities.max()
        elif name == "typical_p":
            with np.errstate(divide="ignore", invalid="ignore"):
                information = -np.log(probabilities)
                entropy = np.nansum(probabilities * information)
            kept = first(np.abs(information - entropy), together=value)
        else:
            continue
        probabilities = np.where(kept, probabilities, 0)
        probabilities /= probabilities.sum()
    return probabilities


LOGITS = [1.3, -0.4, 0.2, 2.1, -1.7, 0.9, 0.05]
SEEN = np.array([True, False, True, True, True, False, False])
RULES = [
    {"top_k": 3},
    {"top_k": 1},
    {"top_k": 100},
    {"top_p": 0.7},
    {"top_p": 1e-6},
    {"top_p": 0.999},
    {"min_p": 0.2},
    {"min_p": 1.0},
    {"typical_p": 0.5},
    {"typical_p": 0.9},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.5},
    {"bias": np.float32([0, 2, 0, -np.inf, 0, -1, 0])},
    {
        "bias": np.float32([0, 0, 0, -np.inf, 0, 0, 0]),
        "repetition_penalty": 1.5,
        "top_k": 5,
        "top_p": 0.9,
        "min_p": 0.1,
        "typical_p": 0.8,
    },
]


@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_rules_follow_their_definitions(rules, temperature):
    probabilities = reference(LOGITS, temperature, SEEN, **rules)
    ids = ops.convert_to_numpy(
        COMPILED(
            ops.convert_to_tensor(np.tile(np.float32(LOGITS), (ROWS, 1))),
            np.random.default_rng(6).random(ROWS, np.float32),
            np.full(ROWS, temperature, np.float32),
            sampling.make_rules(**rules),
            np.tile(SEEN, (ROWS, 1)),
        )
    )
    if (probabilities > 0).sum() > 1:
        assert_distributed(ids, probabilities)
    else:
        assert set(ids.tolist()) == {int(probabilities.argmax())}


@pytest.mark.parametrize("size", [1, 2, 40])
def test_filters_keep_what_their_definitions_keep(size):
    generator = np.random.default_rng(7)
    for name in sampling.FILTERS:
        for _ in range(20):
            logits = generator.normal(0, 2, size).astype(np.float32)
            value = int(generator.integers(1, size + 1))
            value = value if name == "top_k" else float(generator.uniform(0.05, 0.95))
            kept = sampling.restrict(
                ops.convert_to_tensor(logits[np.newaxis]),
                sampling.make_rules(**{name: value}),
            )
            kept = ops.convert_to_numpy(kept)[0]
            expected = reference(logits, **{name: value}) > 0
            np.testing.assert_array_equal(kept > -np.inf, expected)
            np.testing.assert_array_equal(kept[expected], logits[expected])


def test_equal_logits_leave_as_many_as_asked_for():
    logits = ops.zeros((1, 8))
    for rules, count in [
        ({"top_k": 3}, 3),
        ({"top_p": 0.5}, 4),
        ({"typical_p": 0.25}, 2),
        ({"min_p": 1.0}, 8),
    ]:
        kept = sampling.restrict(logits, sampling.make_rules(**rules))
        kept = ops.convert_to_numpy(kept)[0] > -np.inf
        assert kept.tolist() == [True] * count + [False] * (8 - count)


@pytest.mark.parametrize("function", [sampling.sample, COMPILED], ids=["eager", "xla"])
@pytest.mark.parametrize("temperature", [0.0, 1e-6, 1.0, 1e6])
@pytest.mark.parametrize("rules", [{}, *RULES[:11:2], RULES[-1]], ids=str)
def test_rules_survive_extreme_logits(function, temperature, rules):
    rows = np.float32(
        [
            [0.0] * 7,
            [1e30] * 7,
            [-1e30] * 7,
            [1e30, -1e30, 0.0, 1e30, -1e30, 1.0, -1.0],
            [-1e30, 1e30, -1e30, 0.0, 0.0, 0.0, 0.0],
            [-np.inf, 0.0, -np.inf, 1.0, -np.inf, -1e30, 1e30],
        ]
    )
    for uniforms in (0.0, 0.5, BELOW_ONE):
        ids = ops.convert_to_numpy(
            function(
                ops.convert_to_tensor(rows),
                np.full(len(rows), uniforms, np.float32),
                np.full(len(rows), temperature, np.float32),
                sampling.make_rules(**rules),
                np.ones(rows.shape, bool),
            )
        )
        assert ((ids >= 0) & (ids < 7)).all()
        chosen = rows[np.arange(len(rows)), ids]
        assert (chosen > -np.inf).all()
        if temperature <= 1 and "bias" not in rules:
            assert chosen[4] == chosen[5] == np.float32(1e30)


def test_rules_that_do_nothing_are_left_out():
    nothing = {
        "top_p": 1.0,
        "typical_p": 1.0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "bias": np.zeros(3),
    }
    assert sampling.make_rules(**nothing) == {} == sampling.make_rules()


@pytest.mark.parametrize(
    "rule",
    [
        {"top_k": 0},
        {"top_k": 1.5},
        {"top_p": 0},
        {"top_p": 1.1},
        {"typical_p": -0.1},
        {"min_p": 1.5},
        {"min_p": float("nan")},
        {"repetition_penalty": 0},
        {"repetition_penalty": float("inf")},
    ],
    ids=str,
)
def test_bad_rule_is_named(rule):
    [(name, value)] = rule.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        sampling.make_rules(**rule)


def test_forbidding_everything_is_refused():
    with pytest.raises(ValueError, match="forbidden"):
        sampling.make_rules(bias=np.full(4, -np.inf))


def test_log_probability_is_that_of_softmax():
    logits = np.random.default_rng(8).normal(0, 3, (2, 3, 5)).astype(np.float32)
    ids = np.array([[0, 4, 2], [1, 1, 3]])
    found = sampling.log_probability(ops.convert_to_tensor(logits), ids)
    expected = np.log(np.take_along_axis(softmax(logits), ids[..., None], -1))[..., 0]
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-5)


def test_repetition_penalty_is_the_same_for_logits_and_log_probabilities():
    logits = np.random.default_rng(6).normal(3, 2, (5, 7)).astype(np.float32)
    seen = np.random.default_rng(7).random((5, 7)) < 0.5
    rules = sampling.make_rules(repetition_penalty=1.7)
    found = [
        softmax(ops.convert_to_numpy(sampling.adjust(given, rules, seen)))
        for given in (logits, np.log(softmax(logits)).astype(np.float32), logits + 9)
    ]
    expected = softmax(logits) ** np.where(seen, 1.7, 1.0)
    expected /= expected.sum(axis=-1, keepdims=True)
    for each in found:
        np.testing.assert_allclose(each, expected, atol=1e-6)
