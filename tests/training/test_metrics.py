import math

import keras
import numpy as np
import pytest
from keras import ops

from textgen import BitsPerCharacter, CrossEntropy, Perplexity
from textgen.training.metrics import Accuracy, MeanCrossEntropy, WeightedMean

SIZE = 7
SHAPES = [(6,), (4, 5), (1,), (1, 1), (3, 1)]
METRICS = [Perplexity, BitsPerCharacter]
# Keras has no float64 with JAX.
EXACT, NEAR = (
    ("float32", 2e-6) if keras.backend.backend() == "jax" else ("float64", 1e-12)
)


def make(shape, seed=0, ignored=(), scale=3.0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, SIZE, shape)
    ids.flat[list(ignored)] = -1
    return ids, (scale * rng.normal(size=(*shape, SIZE)))


def reference(ids, logits):
    """Nats of every target; 0 for no target."""
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    nats = -np.take_along_axis(log_probabilities, ids[..., np.newaxis], -1)[..., 0]
    return np.where(ids < 0, 0.0, nats)


def one_hot(ids, dtype):
    return (ids[..., np.newaxis] == np.arange(SIZE)).astype(dtype)


def number(tensor):
    return float(ops.convert_to_numpy(tensor))


TARGETS = {
    "int32": lambda ids: ids.astype(np.int32),
    "int64": lambda ids: ids,
    "float": lambda ids: ids.astype(np.float32),
    "trailing axis": lambda ids: ids[..., np.newaxis],
    "bool one-hot": lambda ids: one_hot(ids, bool),
    "int one-hot": lambda ids: one_hot(ids, np.int8),
    "float one-hot": lambda ids: one_hot(ids, np.float32),
}


@pytest.mark.parametrize("ignored", [(), (0,)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_cross_entropy(targets, shape, ignored):
    ids, logits = make(shape, ignored=ignored)
    nats = reference(ids, logits)
    y = targets(ids)
    count = max((ids >= 0).sum(), 1)
    mean = number(CrossEntropy()(y, logits))
    assert mean == pytest.approx(nats.sum() / count, rel=1e-5)
    total = number(CrossEntropy(reduction="sum")(y, logits))
    assert total == pytest.approx(nats.sum(), rel=1e-5)
    each = CrossEntropy(reduction="none")(y, logits)
    np.testing.assert_allclose(each, nats, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("many", [(0, 3, 7, 8, 9, 19), range(19)])
@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_targets_left_out(targets, many):
    ids, logits = make((4, 5), ignored=many)
    kept = reference(ids, logits)[ids >= 0]
    assert len(kept) == 20 - len(many)
    y = targets(ids)
    mean = kept.mean()
    assert number(CrossEntropy()(y, logits)) == pytest.approx(mean, rel=1e-5)
    assert number(Perplexity()(y, logits)) == pytest.approx(math.exp(mean), rel=1e-5)
    # Predictions without a target do not matter.
    logits[ids < 0] = 1e4 * np.arange(SIZE)
    assert number(CrossEntropy()(y, logits)) == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_all_left_out(targets, shape):
    ids, logits = make(shape)
    y = targets(np.full_like(ids, -1))
    for reduction in ("sum_over_batch_size", "sum"):
        assert number(CrossEntropy(reduction=reduction)(y, logits)) == 0
    assert number(Perplexity()(y, logits)) == 1
    assert number(BitsPerCharacter()(y, logits)) == 0


def test_cross_entropy_of_extreme_logits():
    logits = np.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]])
    assert number(CrossEntropy()(np.array([0, 1]), logits)) == pytest.approx(1e4)


def test_uniform_logits():
    y, logits = np.zeros((2, 3), int), np.zeros((2, 3, 8))
    assert number(CrossEntropy()(y, logits)) == pytest.approx(math.log(8), rel=1e-6)
    assert number(Perplexity()(y, logits)) == pytest.approx(8, rel=1e-6)
    assert number(BitsPerCharacter()(y, logits)) == pytest.approx(3, rel=1e-6)


@pytest.mark.tensorflow("float64")
@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_float64(targets):
    ids, logits = make((4, 5), ignored=(2, 11))
    mean = reference(ids, logits).sum() / 18
    y = targets(ids)
    loss = CrossEntropy(dtype="float64")(y, logits)
    assert keras.backend.standardize_dtype(loss.dtype) == "float64"
    assert number(loss) == pytest.approx(mean, rel=1e-13)


@pytest.mark.tensorflow("float64")
def test_float64_metric():
    ids, logits = make((4, 5), ignored=(2, 11))
    mean = reference(ids, logits).sum() / 18
    result = number(Perplexity(dtype="float64")(ids, logits))
    assert result == pytest.approx(math.exp(mean), rel=1e-13)


@pytest.mark.parametrize(
    "dtype",
    [
        "float32",
        "bfloat16",
    ],
)
def test_large_ids(dtype):
    # bfloat16 has 8 bits: it would round the ids.
    logits = np.where(np.arange(400) == 257, 30.0, 0.0)[np.newaxis]
    loss = CrossEntropy(dtype=dtype)(np.array([257]), logits)
    assert number(ops.cast(loss, "float32")) == pytest.approx(0, abs=1e-3)


def test_gradient_is_that_of_the_mean():
    ids, logits = make((4, 5), ignored=(0, 9))

    def loss(logits):
        return CrossEntropy(dtype=EXACT)(ids, logits)

    if keras.backend.backend() == "jax":
        import jax

        gradient = jax.grad(loss)(logits)
    else:
        import tensorflow as tf

        inputs = tf.constant(logits)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            mean = loss(inputs)
        gradient = tape.gradient(mean, inputs)
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(-1, keepdims=True)
    expected = (probabilities - one_hot(ids, float)) * (ids >= 0)[..., np.newaxis] / 18
    np.testing.assert_allclose(np.asarray(gradient), expected, atol=NEAR)


@pytest.mark.parametrize("make_one", [CrossEntropy, *METRICS])
@pytest.mark.parametrize(
    ("targets", "logits"),
    [
        ((4, 3), (4, 7)),
        ((4, 3, 2), (4, 3, 7)),
        ((4,), (4, 3, 7)),
        ((4, 7), (4,)),
        ((4, 3, 7), (4, 7)),
        ((), (4, 7)),
        ((3,), (4, 7)),
        ((1,), (4, 7)),
        ((4, 2), (4, 3, 7)),
        ((4, 1), (4, 3, 7)),
        ((4, 2, 7), (4, 3, 7)),
    ],
)
def test_shapes_that_do_not_fit(make_one, targets, logits):
    with pytest.raises(ValueError, match="many-to-one") as info:
        make_one()(np.zeros(targets, int), np.zeros(logits, np.float32))
    assert f"{targets} do not fit logits of shape {logits}" in str(info.value)


@pytest.mark.parametrize("shape", [(5,), (2, 5)])
def test_metrics_are_of_all_targets_of_all_batches(shape):
    perplexity, bits = Perplexity(dtype=EXACT), BitsPerCharacter(dtype=EXACT)
    total, count = 0.0, 0
    for seed, ignored in enumerate([(), (0, 1, 2, 3), range(math.prod(shape)), (2,)]):
        ids, logits = make(shape, seed, ignored, scale=seed + 1)
        total += reference(ids, logits).sum()
        count += (ids >= 0).sum()
        y = one_hot(ids, bool) if seed % 2 else ids
        perplexity.update_state(y, logits)
        bits.update_state(y, logits)
        nats = total / count
        assert number(perplexity.result()) == pytest.approx(math.exp(nats), rel=1e-5)
        assert number(bits.result()) == pytest.approx(nats / math.log(2), rel=NEAR)


@pytest.mark.parametrize("metric", METRICS)
def test_reset(metric):
    used, fresh = metric(), metric()
    ids, logits = make((4, 5), seed=1)
    used.update_state(*make((3,)))
    used.reset_state()
    for either in (used, fresh):
        either.update_state(ids, logits)
    assert number(used.result()) == number(fresh.result())


@pytest.mark.parametrize(
    ("shape", "weights"),
    [
        ((5,), (5,)),
        ((4, 5), (4, 5)),
        ((4, 5), (4,)),
        ((4, 5), (4, 1)),
        ((4, 5), ()),
        ((5,), (5, 1)),
    ],
)
def test_sample_weights(shape, weights):
    ids, logits = make(shape, ignored=(1, 3))
    sample_weight = np.random.default_rng(1).uniform(0.1, 3, weights)
    missing = len(shape) - len(weights)
    each = np.broadcast_to(
        sample_weight.reshape(weights[: len(shape)] + (1,) * missing), shape
    )
    mean = (each * reference(ids, logits)).sum() / each[ids >= 0].sum()
    perplexity, bits = Perplexity(dtype=EXACT), BitsPerCharacter(dtype=EXACT)
    perplexity.update_state(ids, logits, sample_weight)
    bits.update_state(ids, logits, sample_weight)
    assert number(perplexity.result()) == pytest.approx(math.exp(mean), rel=1e-5)
    assert number(bits.result()) == pytest.approx(mean / math.log(2), rel=NEAR)


def test_zero_weights():
    ids, logits = make((4, 5))
    weights = np.array([0.0, 1.0, 0.0, 0.0])
    metric = BitsPerCharacter()
    metric.update_state(ids, logits, weights)
    expected = reference(ids, logits)[1].mean() / math.log(2)
    assert number(metric.result()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropy(),
        CrossEntropy(reduction="sum", name="nats", dtype="float64"),
        CrossEntropy(reduction="none"),
    ],
)
def test_loss_from_config(loss):
    read = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(read) is CrossEntropy
    assert read.get_config() == loss.get_config()
    assert (read.name, read.reduction) == (loss.name, loss.reduction)
    assert read.dtype == loss.dtype
    ids, logits = make((4, 5), ignored=(2,))
    np.testing.assert_array_equal(read(ids, logits), loss(ids, logits))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("arguments", [{}, {"name": "mine", "dtype": "float64"}])
def test_metric_from_config(metric, arguments):
    built = metric(**arguments)
    read = keras.metrics.deserialize(keras.metrics.serialize(built))
    assert type(read) is metric
    assert read.get_config() == built.get_config()
    assert (read.name, read.dtype) == (built.name, built.dtype)
    ids, logits = make((4, 5), ignored=(2,))
    assert number(read(ids, logits)) == number(built(ids, logits))


def test_default_names():
    names = [make_one().name for make_one in (CrossEntropy, *METRICS)]
    assert names == ["cross_entropy", "perplexity", "bits_per_character"]


def test_many_to_one_and_many_to_many_in_fit():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10, 3)).astype(np.float32)
    for shape in [(10,), (10, 4)]:
        ids = rng.integers(-1, SIZE, shape)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(SIZE)])
        if len(shape) == 2:
            model.pop()
            model.add(keras.layers.RepeatVector(4))
            model.add(keras.layers.Dense(SIZE))
        model.compile("sgd", CrossEntropy(), metrics=[BitsPerCharacter()])
        # One batch: Keras would weight the losses of several batches by rows.
        read = model.evaluate(x, ids, batch_size=10, verbose=0, return_dict=True)
        nats = reference(ids, model.predict(x, verbose=0))
        mean = nats.sum() / (ids >= 0).sum()
        assert read["loss"] == pytest.approx(mean, rel=1e-5)
        assert read["bits_per_character"] == pytest.approx(mean / math.log(2), rel=1e-5)


# === Sums of billions ===


def many_batches(kind):
    """Means and weights of batches, float32, of about 1.5 nats and 4e9 targets."""
    generator = np.random.default_rng(0)
    if kind == "equal":
        means, weights = np.full(20_000, 1.5), np.full(20_000, 200_123.0)
    elif kind == "first is heaviest":
        means = np.append(1.25, generator.normal(5.0, 0.1, 20_000))
        weights = np.append(2.0**32, np.full(20_000, 255.0))
    elif kind == "of any size":
        means = generator.normal(1.5, 0.3, 20_000)
        weights = np.exp(generator.uniform(0, 15, 20_000))
    else:  # both signs, so that the sum becomes small again
        means = np.append(generator.normal(1.5, 0.3, 9_999), -2.0)
        means = np.append(means, -means[::-1] + 1e-3)
        weights = np.full(20_000, 200_123.0)
    return means.astype(np.float32), weights.astype(np.float32)


in_graphs = pytest.mark.tensorflow("execution without XLA")


def update_on_jax(metric, *batches):
    """Updates a metric with each of many batches, in one compiled loop."""
    import jax

    def step(values, batch):
        return metric.stateless_update_state(values, *batch), None

    variables = metric.variables
    values, _ = jax.lax.scan(step, [each.value for each in variables], batches)
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


@pytest.mark.parametrize(
    "jit_compile", [*(pytest.param(x, marks=in_graphs) for x in (None, False)), True]
)
@pytest.mark.parametrize(
    "kind", ["equal", "first is heaviest", "of any size", "of either sign"]
)
def test_mean_of_billions_of_targets(kind, jit_compile):
    means, weights = many_batches(kind)
    if jit_compile is None:  # fewer batches: execution without a graph is slower
        means, weights = means[:1000], weights[:1000]
    mean = WeightedMean("mean")

    def run(means, weights):
        for index in tf.range(len(means)):
            mean.update_state(means[index], weights[index])

    if keras.backend.backend() == "jax":
        update_on_jax(mean, means, weights)
    else:
        import tensorflow as tf

        if jit_compile is not None:
            run = tf.function(run, jit_compile=jit_compile)
        run(tf.constant(means), tf.constant(weights))
    # Each product is rounded to float32; only the sums are exact.
    products = (means * weights).astype(np.float64)
    total, count = products.sum(), weights.sum(dtype=np.float64)
    found = number(mean.total_high) + number(mean.total_low)
    assert found == pytest.approx(total, rel=1e-9, abs=1e-9 * np.abs(products).sum())
    found = number(mean.count_high) + number(mean.count_low)
    assert found == pytest.approx(count, rel=1e-9)
    assert number(mean.result()) == pytest.approx(total / count, rel=3e-7)
    if jit_compile is not None and kind in ("equal", "first is heaviest"):
        alone = np.cumsum(means * weights, dtype=np.float32)[-1]
        assert abs(alone / total - 1) > 1e-5, "float32 would do"


@pytest.mark.parametrize("metric", [*METRICS, Accuracy, MeanCrossEntropy])
@pytest.mark.parametrize("jit_compile", [pytest.param(False, marks=in_graphs), True])
def test_metrics_of_billions_of_targets(metric, jit_compile):
    built = metric()
    ids, logits = make((4, 5))
    logits = logits.astype(np.float32)
    ids[0] = logits[0].argmax(-1)  # better predictions than for the others
    hits = logits.argmax(-1) == ids
    assert hits.mean() < 1
    nats = reference(ids, logits)

    first = ids[:1], logits[:1], np.float32(2.0**28)
    later = ids[1:], logits[1:], np.float32(2.125)

    if keras.backend.backend() == "jax":
        built.update_state(*first)
        update_on_jax(built, *(np.repeat([each], 10_000, axis=0) for each in later))
    else:
        import tensorflow as tf

        @tf.function(jit_compile=jit_compile)
        def run():
            built.update_state(*first)
            for _ in tf.range(10_000):
                built.update_state(*later)

        run()
    weights = np.repeat([2.0**28, *[21_250.0] * 3], 5).reshape(4, 5)
    values = hits if metric is Accuracy else nats
    expected = (values * weights).sum() / weights.sum()
    assert abs(expected - values[0].mean()) > 1e-4 * expected, "float32 would do"
    if metric is Perplexity:
        expected = math.exp(expected)
    elif metric is BitsPerCharacter:
        expected /= math.log(2)
    assert number(built.result()) == pytest.approx(expected, rel=1e-6)


# === Distributions, and probabilities ===


def distributions(shape, seed=0):
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.full(SIZE, 0.5), shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("from_logits", [None, True, False])
def test_distributions_have_the_cross_entropy_of_keras(shape, from_logits):
    _, given = make(shape)
    y = distributions(shape)
    expected = keras.losses.CategoricalCrossentropy(from_logits=True)(y, given)
    accuracy = number(keras.metrics.CategoricalAccuracy()(y, given))
    if from_logits is False:
        given = np.exp(given) / np.exp(given).sum(-1, keepdims=True)
        expected = keras.losses.CategoricalCrossentropy()(y, given)
    expected = number(expected)
    loss = CrossEntropy(from_logits=from_logits)
    assert number(loss(y, given)) == pytest.approx(expected, rel=1e-5)
    for metric, wanted in (
        (MeanCrossEntropy, expected),
        (Perplexity, math.exp(expected)),
        (BitsPerCharacter, expected / math.log(2)),
        (Accuracy, accuracy),
    ):
        found = number(metric(from_logits=from_logits)(y, given))
        assert found == pytest.approx(wanted, rel=1e-5)


def test_distribution_is_not_replaced_by_its_argmax():
    # The argmax of the targets has another cross-entropy.
    ids, logits = make((3,), seed=2, scale=1.0)
    y = 0.2 / SIZE + 0.8 * one_hot(ids, np.float64)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(y * logs).sum(-1).mean()
    assert abs(expected - reference(ids, logits).mean()) > 0.05
    assert number(CrossEntropy(dtype="float64")(y, logits)) == pytest.approx(expected)


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_probabilities(targets):
    ids, logits = make((4, 5), ignored=(2, 11))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    mean = reference(ids, logits).sum() / 18
    y = targets(ids)
    loss = CrossEntropy(from_logits=False)(y, probabilities.astype(np.float32))
    assert number(loss) == pytest.approx(mean, rel=1e-5)
    perplexity = Perplexity(from_logits=False)(y, probabilities.astype(np.float32))
    assert number(perplexity) == pytest.approx(math.exp(mean), rel=1e-5)


# === Weights ===


@pytest.mark.parametrize(
    ("shape", "weights"),
    [
        ((5,), (5,)),
        ((5,), (5, 1)),
        ((4, 5), (4, 5)),
        ((4, 5), (4,)),
        ((4, 5), (4, 1)),
        ((4, 4), (4,)),
        ((4, 4), (4, 1)),
        ((4, 4), (4, 4)),
        ((4, 5), ()),
    ],
)
@pytest.mark.parametrize("metric", [CrossEntropy, MeanCrossEntropy, Accuracy])
def test_weighted_mean_is_by_the_weights(metric, shape, weights):
    ids, logits = make(shape, ignored=(1, 3), scale=1.0)
    given = np.random.default_rng(1).uniform(0.1, 3, weights)
    missing = len(shape) - len(weights)
    each = np.broadcast_to(
        given.reshape(weights[: len(shape)] + (1,) * missing), shape
    ) * (ids >= 0)
    values = reference(ids, logits)
    if metric is Accuracy:
        values = logits.argmax(-1) == ids
    expected = (values * each).sum() / each.sum()
    found = metric(dtype=EXACT)(ids, logits, sample_weight=given)
    assert number(found) == pytest.approx(expected, rel=NEAR)


@pytest.mark.parametrize("make_one", [CrossEntropy, *METRICS])
@pytest.mark.parametrize(
    ("shape", "weights"),
    [((4, 5), (5,)), ((4, 5), (5, 4)), ((4,), (3,)), ((4, 5), (4, 5, 2))],
)
def test_weights_of_another_shape_are_refused(make_one, shape, weights):
    ids, logits = make(shape)
    with pytest.raises(ValueError, match=r"Weights of shape .* do not fit targets"):
        make_one()(ids, logits, sample_weight=np.ones(weights))
