"""The sampled softmax against its definition in NumPy, and against the full softmax."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import textgen
from textgen import LanguageModel, SequenceDataset, Vocabulary, WindowDataset
from textgen.training import sampled_softmax

VOCABULARY = Vocabulary.from_text("abcdefghijklmnopqrst\n")
V = len(VOCABULARY)
S = 6
STEPS = 5
KINDS = {
    "dense": {},
    "tied": {"embedding": 6, "tie_weights": True},
    "many-to-one": {"return_sequences": False, "sequence_length": STEPS},
}
ENDS = sampled_softmax.limits([0, 0, 0, 5, 1, 1, 20], V)


def random_ids(count, seed=0):
    # Small ids are frequent.
    drawn = np.random.default_rng(seed).geometric(0.2, count) - 1
    return np.minimum(drawn, V - 1).astype(np.int32)


def make(seed=3, **options):
    options = {"return_sequences": True, "cell": "simple_rnn", "units": 6, **options}
    model = LanguageModel(VOCABULARY, **options)
    generator = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(generator.normal(0, 0.7, weight.shape))
    return model


def batch(kind="dense"):
    ids = random_ids(4 * (STEPS + 1)).reshape(4, STEPS + 1)
    x, y = ids[:, :-1], ids[:, 1:].copy()
    if kind == "many-to-one":
        return x, y[:, -1]
    y[1, 2:] = -1
    return x, y


def nats_by_definition(logits, y, ends, count):
    """Returns the nats of all targets, in the order of `y.ravel()`; 0 for none."""
    logits = logits.reshape(-1, V).astype(np.float64)
    targets = np.maximum(y.ravel(), 0)
    distance = ends[-1] // count
    part = np.float32(targets.sum() % 32749) / np.float32(32749)
    offset = int(part * np.float32(distance))
    drawn = [
        next(i for i in range(V) if ends[i] > k * distance + offset)
        for k in range(count)
    ]
    shares = np.diff(ends, prepend=0) / distance
    result = []
    for row, target, given in zip(logits, targets, y.ravel(), strict=True):
        total = sum(np.exp(row[i]) for i in set(targets.tolist()))
        total += sum(np.exp(row[i]) / shares[i] for i in drawn if i not in targets)
        result.append(np.log(total) - row[target] if given >= 0 else 0.0)
    return np.array(result)


def mean(nats, weights):
    return (nats * weights).sum() / weights.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_loss_is_that_of_the_definition(kind):
    model = make(**KINDS[kind])
    model.compile(keras.optimizers.SGD(0.0), sampled_softmax=S)
    x, y = batch(kind)
    logits = model.predict_on_batch(x)
    nats = nats_by_definition(logits, y, sampled_softmax.limits(None, V), S)
    known = (y.ravel() >= 0).astype(float)
    assert model.train_on_batch(x, y) == pytest.approx(mean(nats, known), rel=1e-5)
    rows = np.array([0.5, 2.0, 1.0, 0.0], np.float32)
    weights = known * np.repeat(rows, y.size // 4)
    model.reset_metrics()
    found = model.train_on_batch(x, y, sample_weight=rows)
    assert found == pytest.approx(mean(nats, weights), rel=1e-5)
    # The evaluation has the full softmax.
    full = make(**KINDS[kind])
    full.compile()
    assert model.test_on_batch(x, y) == full.test_on_batch(x, y)


def test_fit_counts_the_tokens_of_each_dataset_and_applies_class_weights():
    model = make()
    model.compile(keras.optimizers.SGD(0.0), sampled_softmax=S)
    by_class = np.ones(V)
    by_class[1] = 5.0
    for ids in (random_ids(2 * STEPS + 9), V - 1 - random_ids(2 * STEPS + 9)):
        data = SequenceDataset(ids, STEPS, 2, seed=1)
        x, y = data.batch(0, 0)
        ends = sampled_softmax.limits(ids, V)
        nats = nats_by_definition(model.predict_on_batch(x), y, ends, S)
        loss = model.fit(data, steps_per_epoch=1, verbose=0).history["loss"]
        assert loss == [pytest.approx(mean(nats, np.ones(y.size)), rel=1e-5)]
        loss = model.fit(
            data, steps_per_epoch=1, verbose=0, class_weight={1: 5.0}
        ).history["loss"]
        assert loss == [pytest.approx(mean(nats, by_class[y.ravel()]), rel=1e-5)]


@pytest.mark.parametrize("kind", KINDS)
def test_all_tokens_are_the_full_softmax(kind):
    x, y = batch(kind)
    models = []
    for count in (0, V):
        model = make(**KINDS[kind])
        model.compile(keras.optimizers.SGD(0.5), sampled_softmax=count)
        models.append((model, [model.train_on_batch(x, y) for _ in range(3)]))
    (full, losses), (sampled, others) = models
    assert others == pytest.approx(losses, rel=1e-5)
    for one, other in zip(full.weights, sampled.weights, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


def test_limits_are_the_counts_to_the_power_of_three_quarters(monkeypatch):
    ids = random_ids(5000)
    shares = (np.bincount(ids, minlength=V) + 0.5) ** 0.75
    ends = sampled_softmax.limits(ids, V)
    widths = np.diff(ends, prepend=0) / ends[-1]
    np.testing.assert_allclose(widths, shares / shares.sum(), rtol=1e-5)
    monkeypatch.setattr(sampled_softmax, "_BLOCK", 10)
    long = np.zeros(10_000, np.uint8)
    long[5000:] = 2
    widths = np.diff(sampled_softmax.limits(long, 3), prepend=0)
    assert widths[0] == widths[2] > 50 * widths[1] > 0
    assert (np.diff(sampled_softmax.limits(None, V), prepend=0) == 2**30 // V).all()


def test_draws_are_unbiased():
    times = np.zeros(V)
    starts = range(0, 32749, 151)
    for start in starts:
        ids, expected = sampled_softmax.draw(S, ENDS, np.int32(start))
        np.add.at(times, ops.convert_to_numpy(ids), 1 / ops.convert_to_numpy(expected))
    np.testing.assert_allclose(times / len(starts), 1, atol=0.05)


def test_gradient_is_about_that_of_the_full_softmax(monkeypatch):
    draw, count = sampled_softmax.draw, 15
    y = np.array([0, 3, 3, -1, 2], np.int32)
    values = np.random.default_rng(1).normal(0, 1, (5, V)).astype(np.float32)

    def gradient(function):
        def loss(logits):
            return textgen.training.losses.CrossEntropy()(*function(logits))

        if keras.backend.backend() == "jax":
            import jax

            return np.array(jax.grad(loss)(values))
        import tensorflow as tf

        logits = tf.constant(values)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            mean = loss(logits)
        return np.array(tape.gradient(mean, logits))

    full = gradient(lambda logits: (y, logits))
    found = []
    for start in range(0, 32749, 800):
        monkeypatch.setattr(
            sampled_softmax, "draw", lambda c, e, _, at=start: draw(c, e, np.int32(at))
        )
        found.append(
            gradient(
                lambda logits: sampled_softmax.candidate_logits(
                    y,
                    logits,
                    count,
                    ENDS,
                    lambda features, ids: ops.take(features, ids, axis=1),
                )
            )
        )
    np.testing.assert_allclose(np.mean(found, axis=0), full, atol=0.015)
    assert np.abs(full).max() > 0.15


@pytest.mark.parametrize(
    ("options", "data"),
    [
        ({"dropout": 0.3, "embedding": 6, "tie_weights": True}, "random"),
        ({"stateful": True, "batch_size": 2, "cell": "lstm"}, "consecutive"),
        ({"dtype": "mixed_bfloat16", "embedding": 4}, "random"),
        pytest.param(
            {"dtype": "float64"}, "random", marks=pytest.mark.tensorflow("float64")
        ),
        ({"return_sequences": False, "sequence_length": STEPS}, "windows"),
    ],
)
def test_a_loaded_model_continues_like_an_uninterrupted_one(options, data, tmp_path):
    ids = random_ids(40)

    def train():  # a dataset counts its epochs
        if data == "windows":
            return WindowDataset(ids, STEPS, 3, 4)
        return SequenceDataset(ids, STEPS, 2, data)

    def start():
        keras.utils.set_random_seed(5)
        model = LanguageModel(
            VOCABULARY, **{"return_sequences": True, "units": 6, **options}
        )
        # The graph of one of the models is enough.
        eagerly = "dropout" not in options
        model.compile(
            keras.optimizers.Adam(0.05), sampled_softmax=S, run_eagerly=eagerly
        )
        return model

    whole = start()
    whole.fit(train(), epochs=2, verbose=0)
    first = start()
    first.fit(train(), epochs=1, verbose=0)
    first.save(tmp_path / "model.keras")
    second = textgen.load(tmp_path / "model.keras")
    assert second.sampled_softmax == S
    second.fit(train(), epochs=2, initial_epoch=1, verbose=0)
    for one, other in zip(whole.weights, second.weights, strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(first.weights[0], second.weights[0])


def test_training_reaches_the_entropy_of_a_text():
    ids = np.tile(np.arange(V, dtype=np.int32), 60)
    model = make(units=16)
    model.compile(keras.optimizers.Adam(0.02), sampled_softmax=4)
    data = SequenceDataset(ids, 8, 4)
    assert model.evaluate(data, verbose=0) > 2
    model.fit(data, epochs=8, verbose=0)
    assert model.evaluate(data, verbose=0) < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampled_softmax": V + 1}, f"=22 must be at least 0, and at most {V}"),
        ({"sampled_softmax": -1}, "=-1 must be at least 0"),
        ({"sampled_softmax": 4.0}, "=4.0 must be an integer"),
        ({"sampled_softmax": True}, "=True must be an integer"),
        ({"sampled_softmax": 4, "metrics": ["accuracy"]}, "needs no metrics"),
        ({"sampled_softmax": 4, "weighted_metrics": ["ce"]}, "needs no metrics"),
        ({"sampled_softmax": 4, "loss": lambda y, p: p}, "the cross-entropy as loss"),
    ],
)
def test_what_does_not_fit_is_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        make().compile(**arguments)


def test_other_models_and_targets_are_an_error():
    network = keras.Sequential([layers.Input((STEPS, V)), layers.LSTM(4)])
    network.add(layers.Dense(V))
    writer = textgen.from_keras(network, VOCABULARY)
    with pytest.raises(ValueError, match="needs a LanguageModel, and this is a Keras"):
        writer.compile(sampled_softmax=4)
    model = make()
    model.compile(sampled_softmax=4)
    x, y = batch()
    soft = np.full((*y.shape, V), 1 / V, np.float32)
    with pytest.raises(ValueError, match="needs targets that are ids"):
        model.train_on_batch(x, soft)
    # One-hot targets are ids.
    x, y = x[2:], y[2:]
    one = model.train_on_batch(x, np.eye(V, dtype=np.int32)[y])
    other = make()
    other.compile(sampled_softmax=4)
    assert one == pytest.approx(other.train_on_batch(x, y), rel=1e-6)


def test_a_file_without_a_sampled_softmax_does_not_mention_it():
    model = make()
    model.compile()
    assert "sampled_softmax" not in model.get_compile_config()
    model.compile(sampled_softmax=0)
    assert "sampled_softmax" not in model.get_compile_config()
