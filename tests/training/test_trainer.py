"""`fit`, `evaluate` and `predict` against the definitions, for all kinds of models.

The definitions are cross-entropies that NumPy computes in float64 from the logits of
plain Keras networks, and Keras's losses and metrics.
"""

import csv
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import textgen
import textgen.batches
from textgen import (
    LanguageModel,
    LineDataset,
    SequenceDataset,
    Vocabulary,
    WindowDataset,
)
from textgen.models import keras_writer
from textgen.training import metrics

VOCABULARY = Vocabulary.from_text("abcdefg\n")  # the newline is id 0
V = len(VOCABULARY)
END = VOCABULARY.ids["\n"]
STEPS = 5
UNITS = 6
CELLS = {"simple_rnn": layers.SimpleRNN, "gru": layers.GRU}
MODELS = ("language model", "logits", "softmax")
NEAR = {"rel": 1e-5}

LINES = ["a", "bcdefg", "gg", "abcabcabca", "fade", "bad", "c", "decade", "egg", "abe"]
EQUAL_LINES = ["abcd", "bcde", "faga", "egga", "decd"]


def random_ids(count, seed=0):
    return np.random.default_rng(seed).integers(0, V, count).astype(np.int32)


# === Models, and their definitions ===


def spread(weights, seed=3):
    """Sets weights large enough for clearly different logits."""
    generator = np.random.default_rng(seed)
    for weight in weights:
        weight.assign(generator.normal(0, 0.7, weight.shape))


def make(kind="language model", sequences=False, rows=None, cell="simple_rnn"):
    """Returns an uncompiled model; it is stateful if `rows` is given."""
    if kind == "language model":
        model = LanguageModel(
            VOCABULARY,
            cell,
            UNITS,
            embedding=4,
            return_sequences=sequences,
            stateful=bool(rows),
            batch_size=rows,
            sequence_length=STEPS,
        )
    else:
        model = keras_writer.from_keras(
            network_of(kind, sequences, rows, cell), VOCABULARY, sequence_length=STEPS
        )
    spread(model.trainable_weights)
    return model


def network_of(kind, sequences, rows=None, cell="simple_rnn", **kwargs):
    steps = None if sequences and not rows else STEPS
    return keras.Sequential(
        [
            keras.Input(batch_shape=(rows, steps), dtype="int32"),
            layers.Embedding(V, 4),
            CELLS[cell](UNITS, return_sequences=sequences, stateful=bool(rows)),
            layers.Dense(V, "softmax" if kind == "softmax" else None, **kwargs),
        ]
    )


def compiled(model, optimizer=None, run_eagerly=True, **kwargs):
    """Compiles a model; without an optimizer, `fit` measures without training.

    A few batches are faster without a TensorFlow graph.
    """
    optimizer = optimizer or keras.optimizers.SGD(0.0)
    model.compile(
        optimizer, **{"run_eagerly": run_eagerly, "jit_compile": False, **kwargs}
    )
    return model


@functools.cache
def plain(cell, sequences):
    """Returns a network of Keras layers for the part after the embedding."""
    return keras.Sequential(
        [
            keras.Input((None, 4)),
            CELLS[cell](UNITS, return_sequences=sequences),
            layers.Dense(V),
        ]
    )


def logits_of(model, x):
    """Returns the logits of a plain Keras network with the weights of a model."""
    weights = [ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    cell = "simple_rnn" if weights[1].shape == (4, UNITS) else "gru"
    network = plain(cell, model.return_sequences)
    network.set_weights(weights[1:])
    # Id -1 is a row of zeros, or the padding token of a wrapped network.
    table = np.append(weights[0], np.zeros((1, 4), np.float32), axis=0)
    if not isinstance(model, LanguageModel):
        table[-1] = table[END]
    return ops.convert_to_numpy(network(table[np.asarray(x)]))


def nats_of(logits, y):
    """Cross-entropy of each target, in float64; 0 for no target."""
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    y = np.asarray(y)
    found = np.take_along_axis(logs, np.maximum(y, 0)[..., np.newaxis], axis=-1)
    return np.where(y < 0, 0, -found[..., 0])


def mean_nats(model, x, y, weights=None):
    """Weighted mean over all targets; the weights have the shape of `y`."""
    weights = (np.asarray(y) >= 0) * (1.0 if weights is None else weights)
    return (nats_of(logits_of(model, x), y) * weights).sum() / weights.sum()


def arrays(dataset):
    """Returns all batches of the dataset, in the order of its first epoch."""
    batches = [dataset.batch(index, 0) for index in range(len(dataset))]
    return tuple(np.concatenate(part) for part in zip(*batches, strict=True))


def as_text(ids):
    return VOCABULARY.decode(ids)


def lines_dataset(lines, batch_size=3, **kwargs):
    ids = VOCABULARY.encode("\n".join(lines))
    return LineDataset(ids, END, batch_size=batch_size, **kwargs)


def padded(lines):
    """Inputs and targets of lines by the definition: with start step and end."""
    length = max(map(len, lines)) + 1
    x, y = np.full((2, len(lines), length), -1)
    for row, line in enumerate(lines):
        ids = VOCABULARY.encode(line)
        x[row, 1 : len(ids) + 1] = ids
        y[row, : len(ids) + 1] = [*ids, END]
    return x, y


def recorded(model, step="train_step"):
    """Returns a list of the batches that a step of an eager model receives.

    The step only records them: computing takes longer.
    """
    seen = []

    def recording(data):
        seen.append(tuple(np.array(part) for part in data if part is not None))
        return model.get_metrics_result()

    setattr(model, step, recording)
    return seen


def assert_same_batches(seen, expected):
    assert len(seen) == len(expected)
    for batch, other in zip(seen, expected, strict=True):
        assert len(batch) == len(other)
        for part, wanted in zip(batch, other, strict=True):
            np.testing.assert_array_equal(part, wanted)


def assert_equal_arrays(ones, others):
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(one), ops.convert_to_numpy(other)
        )


# === The same model and text, measured in every way ===


def windows_task(model, size):
    ids = random_ids(5 + STEPS)
    data = WindowDataset(ids, STEPS, 1, size)
    starts = np.arange(len(ids) - STEPS)
    x = ids[starts[:, np.newaxis] + np.arange(STEPS)]
    # The first windows of a text are padded; the dataset does not contain them.
    found = model.score(as_text(ids)).log_probs[STEPS:]
    return data, x, ids[STEPS:], -found


def sequences_task(model, size):
    ids = random_ids(6 * STEPS + 1)
    data = SequenceDataset(ids, STEPS, size, random_offset=False)
    starts = np.arange(0, 6 * STEPS, STEPS)
    rows = ids[starts[:, np.newaxis] + np.arange(STEPS + 1)]
    found = model.score([as_text(row) for row in rows]).log_probs
    return data, rows[:, :-1], rows[:, 1:], -found


def lines_task(model, size, lines=LINES[4:9]):
    model.start_step = True
    found = model.score([line + "\n" for line in lines]).log_probs
    return lines_dataset(lines, size), *padded(lines), -found


def strands_task(model, size):
    rows, batches = size, 3
    ids = random_ids(rows * (batches * STEPS + 1))
    data = SequenceDataset(ids, STEPS, rows, "consecutive", random_offset=False)
    strands = ids.reshape(rows, -1)
    found = model.score([as_text(strand) for strand in strands]).log_probs
    return data, strands[:, :-1], strands[:, 1:], -found


TASKS = {
    "windows": windows_task,
    "sequences": sequences_task,
    "padded lines": lines_task,
    "equal lines": functools.partial(lines_task, lines=EQUAL_LINES),
    "strands": strands_task,
}


def measures(model, **kwargs):
    """Compiles a model with all metrics that are means over targets."""
    return compiled(
        model,
        metrics=[textgen.Perplexity(), "accuracy"],
        weighted_metrics=[
            textgen.BitsPerCharacter("bits"),
            metrics.MeanCrossEntropy("nats"),
            metrics.Accuracy("weighted_accuracy"),
        ],
        **kwargs,
    )


def check_measures(logs, nats, hits, known, weights=1.0):
    """Compares values with the definitions; arrays have the shape of the targets."""
    mean = (nats * known).sum() / known.sum()
    assert np.log(logs["perplexity"]) == pytest.approx(mean, **NEAR)
    assert logs["accuracy"] == pytest.approx((hits * known).sum() / known.sum(), **NEAR)
    each = known * weights
    mean = (nats * each).sum() / each.sum()
    assert logs["loss"] == pytest.approx(mean, **NEAR)
    assert logs["nats"] == pytest.approx(mean, **NEAR)
    assert logs["bits"] * np.log(2) == pytest.approx(mean, **NEAR)
    share = (hits * each).sum() / each.sum()
    assert logs["weighted_accuracy"] == pytest.approx(share, **NEAR)


def values_of(history, epoch=0):
    return {name: values[epoch] for name, values in history.history.items()}


@functools.cache
def known(kind, sequences, rows):
    """A model that is never trained, so that its compiled functions are reused."""
    # A GRU takes longer to compile.
    cell = "gru" if kind == "logits" else "simple_rnn"
    return measures(make(kind, sequences, rows, cell))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("task", TASKS)
def test_all_measures_are_of_the_definition(task, kind):
    # The batches of the two wrapped networks are made by the same code.
    sizes = {"language model": (2, 3), "logits": (3,), "softmax": (2,)}[kind]
    sizes, rows = ((2,), 2) if task == "strands" else (sizes, None)
    model = known(kind, task != "windows", rows)
    for size in sizes:
        data, x, y, score = TASKS[task](model, size)
        logits = logits_of(model, x)
        measured = nats_of(logits, y), logits.argmax(-1) == y, y >= 0
        nats = measured[0][y >= 0]
        # The scores are in the order of the text.
        assert score == pytest.approx(nats, abs=1e-4)
        assert score.mean(dtype=np.float64) == pytest.approx(nats.mean(), **NEAR)
        logs = model.evaluate(data, verbose=0, return_dict=True)
        check_measures(logs, *measured)
        check_measures(values_of(model.fit(data, verbose=0)), *measured)
        if task == "strands":  # its arrays are not in the order of the batches
            continue
        # Weights of examples (size 2) or of targets.
        weights = np.random.default_rng(size).uniform(
            0.1, 3, len(y) if size == 2 else y.shape
        )
        logs = model.evaluate(x, y, size, 0, weights, return_dict=True)
        weights = weights if weights.ndim == y.ndim else weights[:, np.newaxis]
        check_measures(logs, *measured, weights)


def test_running_text_has_the_score_of_its_one_sequence():
    ids = random_ids(60)
    for kind in MODELS:
        model = compiled(make(kind, sequences=True))
        data = SequenceDataset(ids, 59, 1, random_offset=False)
        expected = mean_nats(model, ids[np.newaxis, :-1], ids[np.newaxis, 1:])
        assert model.evaluate(data, verbose=0) == pytest.approx(expected, **NEAR)
        assert model.score(as_text(ids)).nats == pytest.approx(expected, **NEAR)


def test_results_are_in_the_order_of_keras():
    """The loss, then the metrics in the given order; a loss alone is a number."""
    model = make()
    x, y = random_ids(6 * STEPS).reshape(6, STEPS), random_ids(6, 1)
    logits = logits_of(model, x)
    mean = mean_nats(model, x, y)
    share = (logits.argmax(-1) == y).mean()
    compiled(model)
    for step in (model.evaluate, model.train_on_batch, model.test_on_batch):
        silent = {"verbose": 0} if step == model.evaluate else {}
        assert step(x, y, **silent) == pytest.approx(mean, **NEAR)
        assert step(x, y, return_dict=True, **silent).keys() == {"loss"}
    compiled(
        model, metrics=[textgen.Perplexity("z"), "acc"], weighted_metrics=["accuracy"]
    )
    for step in (model.evaluate, model.train_on_batch, model.test_on_batch):
        silent = {"verbose": 0} if step == model.evaluate else {}
        expected = [mean, np.exp(mean), share, share]
        assert step(x, y, **silent) == pytest.approx(expected, **NEAR)
        assert [*step(x, y, return_dict=True, **silent)] == (
            ["acc", "accuracy", "loss", "z"]
        )
    assert [*model.fit(x, y, verbose=0).history] == ["acc", "accuracy", "loss", "z"]


# === Padded lines ===


def read_log(path):
    with open(path) as file:
        return [
            {name: float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("kind", ["language model", "softmax"])
def test_loss_of_lines_is_the_mean_over_their_symbols(kind, stateful, tmp_path):
    """Batches with unequal numbers of targets and steps, and a smaller last one."""
    others = LINES[::-1][:7]
    model = compiled(
        make(kind, sequences=True), metrics=[textgen.Perplexity()], run_eagerly=False
    )
    expected, expected_val = (
        mean_nats(model, *padded(each)) for each in (LINES, others)
    )
    for size in (1, 4):
        data = lines_dataset(LINES, size, stateful=stateful)
        validation = lines_dataset(others, size, stateful=stateful)
        log = tmp_path / f"{size}.csv"
        history = model.fit(
            data,
            validation_data=validation,
            epochs=2,
            verbose=0,
            callbacks=[keras.callbacks.CSVLogger(log)],
        )
        for row in (
            *read_log(log),
            *(values_of(history, epoch) for epoch in range(2)),
        ):
            assert row["loss"] == pytest.approx(expected, **NEAR)
            assert row["val_loss"] == pytest.approx(expected_val, **NEAR)
            assert np.log(row["perplexity"]) == pytest.approx(expected, **NEAR)
            assert np.log(row["val_perplexity"]) == pytest.approx(expected_val, **NEAR)
        assert model.start_step
        logs = model.evaluate(data, verbose=0, return_dict=True)
        assert logs["loss"] == pytest.approx(expected, **NEAR)
    score = model.score([line + "\n" for line in LINES])
    assert score.nats == pytest.approx(expected, **NEAR)


def test_loss_in_a_step_is_the_mean_so_far():
    losses = []
    model = compiled(make(sequences=True))
    data = lines_dataset(LINES, 3, shuffle=False)
    model.fit(
        data,
        verbose=0,
        callbacks=[
            keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs: losses.append(logs["loss"])
            )
        ],
    )
    x, y = padded(LINES)
    expected = [mean_nats(model, x[:end], y[:end]) for end in (3, 6, 9, 10)]
    assert losses == pytest.approx(expected, **NEAR)


def test_loss_that_adds_a_penalty_has_it():
    """The reported loss includes the penalties of layers, as in Keras."""
    penalty = keras.regularizers.L2(0.1)
    network = network_of("logits", sequences=True, kernel_regularizer=penalty)
    model = compiled(keras_writer.from_keras(network, VOCABULARY))
    spread(model.trainable_weights)
    kernel = np.asarray(network.layers[-1].kernel, np.float64)
    expected = mean_nats(model, *padded(LINES)) + 0.1 * (kernel**2).sum()
    data = lines_dataset(LINES, 3)
    assert model.evaluate(data, verbose=0) == pytest.approx(expected, **NEAR)
    assert model.fit(data, verbose=0).history["loss"][0] == pytest.approx(
        expected, **NEAR
    )


# === Weights ===


def targets_with_gaps(shape, seed=1):
    y = random_ids(int(np.prod(shape)), seed).reshape(shape)
    y.flat[[2, 7]] = -1
    return y


@pytest.mark.parametrize(
    ("kind", "steps"),
    [("language model", STEPS), ("language model", 8), ("softmax", 8)],
)
@pytest.mark.parametrize("given", ["(N,)", "(N, 1)", "(N, T)"])
def test_weights_of_examples_and_of_steps(given, steps, kind):
    """Eight examples with 8 steps or fewer, in two batches."""
    model = measures(make(kind, sequences=True))
    x, y = random_ids(8 * steps).reshape(8, steps), targets_with_gaps((8, steps))
    generator = np.random.default_rng(2)
    weights = {
        "(N,)": generator.uniform(0, 4, 8),
        "(N, 1)": generator.uniform(0, 4, (8, 1)),
        "(N, T)": generator.uniform(0, 4, (8, steps)),
    }[given]
    each = np.broadcast_to(weights.reshape(8, -1), y.shape)
    logits = logits_of(model, x)
    nats, hits = nats_of(logits, y), logits.argmax(-1) == y
    logs = model.evaluate(x, y, 5, 0, weights, return_dict=True)
    check_measures(logs, nats, hits, y >= 0, each)
    history = model.fit(x, y, 5, sample_weight=weights, verbose=0)
    check_measures(values_of(history), nats, hits, y >= 0, each)


@pytest.mark.parametrize("sequences", [False, True])
def test_weights_of_one_shape_after_those_of_another(sequences):
    """TensorFlow then traces one graph for all shapes."""
    model = compiled(make(sequences=sequences), run_eagerly=False)
    x, y = random_ids(40).reshape(8, 5), targets_with_gaps((8, 5))
    y = y if sequences else y[:, 0]
    generator = np.random.default_rng(2)
    for shape in [y.shape, (8,), (8, 1), y.shape, (8, 1), (8,)]:
        weights = generator.uniform(0, 4, shape)
        each = weights.reshape(8, -1) if sequences else weights.reshape(8)
        expected = mean_nats(model, x, y, np.broadcast_to(each, y.shape))
        loss = model.evaluate(x, y, 8, 0, weights)
        assert loss == pytest.approx(expected, **NEAR)


@pytest.mark.parametrize("given", ["(N,)", "(N, T)"])
def test_weights_in_training_are_those_of_keras(given):
    """Compares one step with Keras, which gets one weight per target."""
    network = network_of("logits", sequences=True)
    model = keras_writer.from_keras(network, VOCABULARY)
    spread(model.trainable_weights)
    alone = keras.models.clone_model(network)
    alone.set_weights(network.get_weights())
    x, y = random_ids(40).reshape(8, 5), targets_with_gaps((8, 5))
    shape = (8, 5) if given == "(N, T)" else (8,)
    weights = np.random.default_rng(2).uniform(0, 4, shape).astype(np.float32)
    each = (weights.reshape(8, -1) * (y >= 0)).astype(np.float32)
    alone.compile(
        keras.optimizers.SGD(1.0),
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
        jit_compile=False,
    )
    alone.fit(x, np.maximum(y, 0), 8, sample_weight=each, verbose=0)
    before = network.get_weights()
    compiled(model, optimizer=keras.optimizers.SGD(1.0))
    model.fit(x, y, 8, sample_weight=weights, verbose=0)
    for one, other, old in zip(
        network.get_weights(), alone.get_weights(), before, strict=True
    ):
        assert np.abs(one - old).max() > 1e-3
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (8, 4), (8, 5, 2)])
def test_weights_that_do_not_fit_are_refused(shape):
    model = compiled(make(sequences=True))
    x = random_ids(40).reshape(8, 5)
    with pytest.raises(ValueError, match=r"Weights|cardinality|same"):
        model.evaluate(x, x, 8, 0, np.ones(shape))


CLASSES = {0: 3.0, 2: 0.0, np.int64(5): 0.5}


def class_weights_of(y):
    table = np.ones(V)
    table[[int(index) for index in CLASSES]] = [*CLASSES.values()]
    return np.where(y < 0, 1.0, table[y])


@pytest.mark.parametrize("targets", ["ids", "one-hot"])
@pytest.mark.parametrize(
    ("kind", "sequences", "container"),
    [
        ("language model", True, "arrays"),
        ("language model", True, "dataset"),
        ("language model", True, "tf.data"),
        ("softmax", False, "arrays"),
    ],
)
def test_class_weight(kind, sequences, targets, container):
    lines = LINES[4:9]
    if sequences:
        x, y = padded(lines)
    else:
        x, y = random_ids(7 * STEPS).reshape(7, STEPS), random_ids(7, 1)
    given = VOCABULARY.one_hot(y) if targets == "one-hot" else y
    arguments = {"x": x, "y": given, "batch_size": 4}
    if container == "tf.data":
        arguments = {"x": tf.data.Dataset.from_tensor_slices((x, given)).batch(4)}
    if container == "dataset":
        ids = random_ids(12)
        data = lines_dataset(lines, 4) if sequences else WindowDataset(ids, STEPS, 1, 4)
        if targets == "one-hot":  # a custom dataset
            data = Arrays(ids, 4, 0)
            data.x, data.y, data.target_steps = x, given, given.shape[1:]
        elif not sequences:
            x, y = arrays(data)
        arguments = {"x": data}
    model = measures(make(kind, sequences))
    logits = logits_of(model, x)
    measured = nats_of(logits, y), logits.argmax(-1) == y, y >= 0
    each = class_weights_of(y)
    assert abs(mean_nats(model, x, y, each) - mean_nats(model, x, y)) > 1e-3
    history = model.fit(
        **arguments, verbose=0, class_weight=CLASSES, validation_data=(x, y)
    )
    logs = values_of(history)
    check_measures(logs, *measured, each)
    validated = {name[4:]: logs[name] for name in logs if name[:4] == "val_"}
    check_measures(validated, *measured)
    # `evaluate` and the next `fit` have no class weights.
    check_measures(model.evaluate(x, y, verbose=0, return_dict=True), *measured)
    check_measures(values_of(model.fit(**arguments, verbose=0)), *measured)


class Arrays(textgen.batches.Dataset):
    """A dataset of given arrays."""

    steps = target_steps = None

    def __len__(self):
        return -(-len(self.x) // self.batch_size)

    def batch(self, index, epoch):
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self.x[part], self.y[part]


@pytest.mark.parametrize("given", ["(N,)", "(N, 1)", "(N, T)"])
@pytest.mark.parametrize("container", ["arrays", "tf.data"])
def test_class_weight_multiplies_sample_weights(container, given):
    model = measures(make(sequences=True))
    x, y = padded(LINES)
    shape = {"(N,)": (10,), "(N, 1)": (10, 1), "(N, T)": y.shape}[given]
    weights = np.random.default_rng(2).uniform(0.1, 4, shape)
    arguments = {"x": x, "y": y, "batch_size": 4, "sample_weight": weights}
    if container == "tf.data":
        slices = tf.data.Dataset.from_tensor_slices((x, y, weights))
        arguments = {"x": slices.batch(4)}
    history = model.fit(**arguments, class_weight=CLASSES, verbose=0)
    logits = logits_of(model, x)
    check_measures(
        values_of(history),
        nats_of(logits, y),
        logits.argmax(-1) == y,
        y >= 0,
        weights.reshape(10, -1) * class_weights_of(y),
    )


def test_class_weights_apply_to_one_fit_only():
    """The graph of a training step contains the weights."""
    model = compiled(make(), run_eagerly=False)
    x, y = random_ids(12 * STEPS).reshape(12, STEPS), random_ids(12, 1)
    unweighted = pytest.approx(mean_nats(model, x, y), **NEAR)
    assert model.fit(x, y, verbose=0).history["loss"][0] == unweighted
    for weight in (5.0, 0.25):
        weights = np.where(y == 3, weight, 1.0)
        history = model.fit(x, y, class_weight={3: weight}, verbose=0)
        expected = mean_nats(model, x, y, weights)
        assert history.history["loss"][0] == pytest.approx(expected, **NEAR)
    assert model.train_on_batch(x, y) == unweighted
    assert model.fit(x, y, verbose=0).history["loss"][0] == unweighted


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({V: 2.0}, rf"key {V}, .*0 to {V - 1}: use vocabulary"),
        ({-1: 2.0}, "key -1"),
        ({"a": 2.0}, "key 'a'"),
        ({1.0: 2.0}, r"key 1\.0"),
        ({0: 1.0, 3: -0.5}, r"class_weight\[3\]=-0\.5"),
        ({4: float("nan")}, r"class_weight\[4\]=nan"),
        ({4: float("inf")}, r"class_weight\[4\]=inf"),
    ],
)
@pytest.mark.parametrize("kind", ["language model", "softmax"])
def test_bad_class_weight_is_named(kind, weights, said):
    model = compiled(make(kind))
    data = WindowDataset(random_ids(20), STEPS, 1, 4)
    with pytest.raises(ValueError, match=said):
        model.fit(data, class_weight=weights, verbose=0)


# === Distributions as targets ===


def distributions(shape, seed=0):
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.full(V, 0.5), shape).astype(np.float32)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("sequences", [False, True])
def test_soft_targets_have_the_cross_entropy_of_keras(sequences, kind):
    model = measures(make(kind, sequences))
    x = random_ids(6 * STEPS, 4).reshape(6, STEPS)
    for y in (
        distributions((6, STEPS) if sequences else (6,)),
        0.1 / V + 0.9 * VOCABULARY.one_hot(x if sequences else x[:, 0]),
    ):
        y = y.astype(np.float32)
        logits = logits_of(model, x)
        expected = float(keras.losses.CategoricalCrossentropy(True)(y, logits))
        each = keras.losses.categorical_crossentropy(y, logits, from_logits=True)
        assert np.abs(each - nats_of(logits, y.argmax(-1))).max() > 0.05
        accuracy = float(keras.metrics.CategoricalAccuracy()(y, logits))
        for logs in (
            model.evaluate(x, y, 4, verbose=0, return_dict=True),
            values_of(model.fit(x, y, 4, verbose=0)),
        ):
            for name in ("loss", "nats"):
                assert logs[name] == pytest.approx(expected, **NEAR)
            assert np.log(logs["perplexity"]) == pytest.approx(expected, **NEAR)
            assert logs["bits"] * np.log(2) == pytest.approx(expected, **NEAR)
            for name in ("accuracy", "weighted_accuracy"):
                assert logs[name] == pytest.approx(accuracy, **NEAR)


def test_soft_targets_are_not_replaced_by_their_argmax():
    y, p = np.array([[0.6, 0.4, 0.0]]), np.array([[0.1, 0.7, 0.2]])
    logits = np.log(p)
    for dtype in ("float32", "float64"):
        loss = textgen.CrossEntropy(dtype=dtype)(y.astype(dtype), logits.astype(dtype))
        expected = -(0.6 * np.log(0.1) + 0.4 * np.log(0.7))
        assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_soft_targets_train_as_in_keras():
    network = network_of("logits", sequences=True)
    model = keras_writer.from_keras(network, VOCABULARY)
    spread(model.trainable_weights)
    alone = keras.models.clone_model(network)
    alone.set_weights(network.get_weights())
    x, y = random_ids(30).reshape(6, 5), distributions((6, 5))
    y[1, 2:] = 0  # no target
    weights = np.ones((6, 5), np.float32)
    weights[1, 2:] = 0
    for each, arguments in ((alone, {"sample_weight": weights}), (model, {})):
        each.compile(
            keras.optimizers.SGD(1.0),
            keras.losses.CategoricalCrossentropy(
                from_logits=True, reduction="mean_with_sample_weight"
            )
            if each is alone
            else None,
            jit_compile=False,
        )
        each.fit(x, y, 6, verbose=0, **arguments)
    for one, other in zip(network.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


# === Metrics by name, and those of Keras ===


@pytest.mark.parametrize("kind", ["language model", "softmax"])
@pytest.mark.parametrize("name", ["accuracy", "categorical_accuracy"])
def test_weighted_accuracy_leaves_out_padding(name, kind):
    model = compiled(make(kind, sequences=True), weighted_metrics=[name])
    x, y = padded(LINES)
    hits = (logits_of(model, x).argmax(-1) == y)[y >= 0]
    assert 0 < hits.mean() < 1
    data = lines_dataset(LINES, 3)
    logs = model.evaluate(data, verbose=0, return_dict=True)
    assert logs[name] == pytest.approx(hits.mean(), **NEAR)
    assert model.fit(data, verbose=0).history[name][0] == pytest.approx(
        hits.mean(), **NEAR
    )


@pytest.mark.parametrize(
    "nest",
    [
        lambda *names: [list(names)],
        lambda *names: {"output": list(names)},
        lambda *names: ({"output": names},),
        lambda *names: [names[0], [names[1]]],
    ],
)
@pytest.mark.parametrize(
    ("argument", "targets"), [("metrics", "one-hot"), ("weighted_metrics", "ids")]
)
def test_nested_metrics_are_mapped(targets, argument, nest):
    model = make(sequences=True)
    model.compile(
        keras.optimizers.SGD(0.0),
        run_eagerly=True,
        **{argument: nest("accuracy", "sparse_categorical_crossentropy")},
    )
    x, y = padded(LINES)
    logits = logits_of(model, x)
    given = VOCABULARY.one_hot(y) if targets == "one-hot" else y
    logs = model.evaluate(x, given, 4, 0, return_dict=True)
    hits = (logits.argmax(-1) == y)[y >= 0]
    assert logs["accuracy"] == pytest.approx(hits.mean(), **NEAR)
    assert logs["sparse_categorical_crossentropy"] == pytest.approx(
        nats_of(logits, y)[y >= 0].mean(), **NEAR
    )


@pytest.mark.parametrize("argument", ["metrics", "weighted_metrics"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("sparse", [False, True])
def test_metric_of_keras_must_take_what_the_model_returns(
    sparse, kind, nested, argument
):
    model = make(kind)
    name = f"{'Sparse' if sparse else ''}CategoricalCrossentropy"
    make_one = getattr(keras.metrics, name)
    takes = kind != "softmax"
    wrong, right = (make_one(from_logits=each) for each in (not takes, takes))
    expected = ("probabilities", "logits") if takes else ("logits", "probabilities")
    with pytest.raises(
        ValueError,
        match=rf"metric {name} expects {expected[0]}, .* returns {expected[1]}.*"
        rf"from_logits={takes}",
    ):
        compiled(model, **{argument: [[wrong]] if nested else [wrong]})
    if takes:
        with pytest.raises(ValueError, match="from_logits=True"):
            compiled(model, **{argument: [make_one()]})
    compiled(model, **{argument: [[right]] if nested else [right]})
    x, y = random_ids(6 * STEPS).reshape(6, STEPS), random_ids(6, 1)
    given = y if sparse else VOCABULARY.one_hot(y).astype(np.float32)
    logs = model.evaluate(x, given, verbose=0, return_dict=True)
    assert logs[right.name] == pytest.approx(mean_nats(model, x, y), rel=1e-4)


@pytest.mark.parametrize("kind", ["logits", "softmax"])
def test_loss_of_a_wrapped_network_must_take_what_it_returns(kind):
    model = make(kind)
    takes = kind == "logits"
    x, y = random_ids(6 * STEPS).reshape(6, STEPS), random_ids(6, 1)
    expected = mean_nats(model, x, y)
    for name in ("CategoricalCrossentropy", "SparseCategoricalCrossentropy"):
        make_one = getattr(keras.losses, name)
        with pytest.raises(ValueError, match=rf"from_logits={takes}"):
            compiled(model, loss=make_one(from_logits=not takes))
        compiled(model, loss=make_one(from_logits=takes))
        given = VOCABULARY.one_hot(y).astype(np.float32) if name[0] == "C" else y
        assert model.evaluate(x, given, 4, 0) == pytest.approx(expected, rel=1e-4)


# === The order of the batches ===


def passes(make_data, first, count):
    """Returns the batches of `count` passes over a new dataset."""
    data = make_data()
    data.set_epoch(first)
    return [batch for _ in range(count) for batch in data]


def consecutive(rows=2, batches=4, **kwargs):
    ids = random_ids(rows * (batches * STEPS + 1) + STEPS)
    return SequenceDataset(ids, STEPS, rows, "consecutive", **kwargs)


def shuffled():
    return WindowDataset(np.arange(45) % V, STEPS, 3, 3, seed=5)


@pytest.mark.parametrize("rows", [None, 2])
@pytest.mark.parametrize("kind", MODELS)
def test_fit_reads_consecutive_batches_in_order(kind, rows):
    model = compiled(make(kind, sequences=True, rows=rows))
    seen, validated = recorded(model), recorded(model, "test_step")
    data, validation = consecutive(), consecutive(batches=3)
    model.fit(data, validation_data=validation, epochs=2, verbose=0)
    assert_same_batches(seen, passes(consecutive, 0, 2))
    # In the text: each row continues where it ended in the previous batch.
    for batches in (seen[:4], seen[4:]):
        x, y = (np.concatenate(part, axis=1) for part in zip(*batches, strict=True))
        np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
        strand = len(data.ids[: -STEPS + 1]) // 2
        offsets = [
            offset
            for offset in range(STEPS)
            if np.array_equal(x[0], data.ids[offset:][: x.shape[1]])
            and np.array_equal(x[1], data.ids[strand + offset :][: x.shape[1]])
        ]
        assert offsets
    assert len(validated) == 6
    assert_same_batches(validated[:3], validated[3:])
    assert_same_batches(validated[:3], passes(lambda: consecutive(batches=3), 0, 1))


@pytest.mark.parametrize("kind", ["language model", "softmax"])
def test_validation_is_the_same_text_each_epoch(kind):
    model = compiled(make(kind, sequences=True))
    data = SequenceDataset(random_ids(30), STEPS, 4)
    validation = SequenceDataset(random_ids(50, 1), STEPS, 2)
    for _ in range(2):  # the position of the dataset does not matter
        next(iter(validation))
        history = model.fit(
            data, validation_data=validation, epochs=2, verbose=0
        ).history
        expected = mean_nats(model, *arrays(validation))
        assert history["val_loss"] == pytest.approx([expected] * 2, **NEAR)


@pytest.mark.parametrize("kind", ["language model", "softmax"])
@pytest.mark.parametrize("rows", [None, 2])
def test_resumed_fit_has_the_weights_of_an_uninterrupted_one(kind, rows):
    weights = []
    for fits in (
        [{"epochs": 2}],
        [{"epochs": 1}, {"initial_epoch": 1, "epochs": 2}],
    ):
        model = make(kind, sequences=bool(rows), rows=rows)
        compiled(model, keras.optimizers.Adam(0.05), run_eagerly=rows is None)
        start = model.get_weights()
        for fit in fits:
            # A new process has a new dataset.
            data = consecutive() if rows else shuffled()
            model.fit(data, verbose=0, **fit)
        weights.append([*model.get_weights(), *model.optimizer.variables])
    assert_equal_arrays(*weights)
    assert any((one != old).any() for one, old in zip(weights[0], start, strict=False))


@pytest.mark.parametrize("kind", ["language model", "softmax"])
def test_evaluation_of_a_stateful_model_needs_batches_that_continue(kind):
    model = compiled(make(kind, sequences=True, rows=2))
    random = SequenceDataset(random_ids(60), STEPS, 2)
    with pytest.raises(ValueError, match=r"sampling='consecutive'"):
        model.evaluate(random, verbose=0)
    with pytest.raises(ValueError, match=r"sampling='consecutive'"):
        model.fit(consecutive(), validation_data=random, verbose=0)
    with pytest.raises(ValueError, match=r"sampling='consecutive'"):
        model.evaluate(lines_dataset(LINES, 2), verbose=0)


def windows_in(batches):
    """Returns the windows and targets of batches, sorted."""
    return sorted(
        (*window, target)
        for x, y in batches
        for window, target in zip(x.tolist(), y.tolist(), strict=True)
    )


@pytest.mark.parametrize("kind", ["language model", "softmax"])
@pytest.mark.parametrize("steps", [2, 5, 7, 10])
def test_steps_per_epoch_do_not_reorder_passes(steps, kind):
    model = compiled(make(kind))
    seen = recorded(model)
    data = shuffled()
    assert len(data) == 5
    model.fit(data, steps_per_epoch=steps, epochs=4, verbose=0)
    assert len(seen) == 4 * steps
    assert_same_batches(seen, passes(shuffled, 0, 8)[: 4 * steps])
    # A complete pass has every window once.
    ids = np.arange(45) % V
    windows = sorted(
        tuple(ids[start : start + STEPS + 1].tolist())
        for start in range(0, 45 - STEPS, 3)
    )
    for at in range(0, 4 * steps - 4, 5):
        assert windows_in(seen[at : at + 5]) == windows


@pytest.mark.parametrize("steps", [2, 5, 7])
def test_steps_per_epoch_of_a_resumed_fit(steps):
    model = compiled(make())
    seen = recorded(model)
    model.fit(shuffled(), steps_per_epoch=steps, initial_epoch=2, epochs=4, verbose=0)
    assert_same_batches(seen, passes(shuffled, 0, 6)[2 * steps : 4 * steps])


def test_next_fit_starts_the_next_pass():
    model = compiled(make())
    seen = recorded(model)
    data = shuffled()
    model.fit(data, epochs=2, verbose=0)
    model.fit(data, verbose=0)
    model.fit(data, steps_per_epoch=2, verbose=0)
    model.fit(data, verbose=0)
    model.fit(data, steps_per_epoch=6, verbose=0)
    model.fit(data, verbose=0)
    expected = passes(shuffled, 0, 3)
    expected += passes(shuffled, 3, 1)[:2] + passes(shuffled, 4, 1)
    expected += passes(shuffled, 5, 2)[:6] + passes(shuffled, 7, 1)
    assert_same_batches(seen, expected)


@pytest.mark.parametrize("kind", ["language model", "softmax"])
def test_stateful_steps_per_epoch(kind):
    """The state is carried through a pass, also if a pass has several epochs."""

    def fixed():
        return consecutive(random_offset=False)

    model = compiled(make(kind, sequences=True, rows=2))
    x, y = (np.concatenate(part, axis=1) for part in zip(*fixed(), strict=True))
    nats = nats_of(logits_of(model, x), y)
    halves = [half.mean() for half in np.split(nats, 2, axis=1)]
    assert abs(halves[0] - halves[1]) > 1e-3
    fit = functools.partial(model.fit, verbose=0)
    history = fit(fixed(), epochs=4, steps_per_epoch=2).history
    assert history["loss"] == pytest.approx(2 * halves, **NEAR)
    history = fit(fixed(), epochs=2, steps_per_epoch=4).history
    assert history["loss"] == pytest.approx([nats.mean()] * 2, **NEAR)
    for steps in (3, 5, 6):
        for first in (0, 1):
            with pytest.raises(ValueError, match=rf"epoch={steps} .*4 batches"):
                fit(fixed(), epochs=2, steps_per_epoch=steps, initial_epoch=first)


# === Nothing is lost, and predictions are in the order of the text ===


def one_shot(batches, one_hot=False):
    """A `tf.data.Dataset` that can be read once."""
    left = iter(batches)
    spec = tuple(
        tf.TensorSpec((None, *part.shape[1:]), tf.int32) for part in batches[0]
    )
    return tf.data.Dataset.from_generator(lambda: left, output_signature=spec)


@pytest.mark.parametrize("use", ["fit", "evaluate"])
@pytest.mark.parametrize("kind", ["language model", "softmax"])
@pytest.mark.parametrize("rows", [None, 2])
def test_no_batch_is_lost(rows, kind, use):
    data = consecutive() if rows else shuffled()
    batches = passes(lambda: data, 0, 1)
    for read in (one_shot, lambda batches: (batch for batch in batches)):
        model = compiled(make(kind, sequences=bool(rows), rows=rows))
        seen = recorded(model, "train_step" if use == "fit" else "test_step")
        getattr(model, use)(read(batches), verbose=0)
        assert_same_batches(seen, batches)


@pytest.mark.parametrize("kind", ["language model", "softmax"])
def test_predictions_are_in_the_order_of_the_text(kind):
    ids = random_ids(63)
    starts = np.arange(0, 58, 2)
    windows = ids[starts[:, np.newaxis] + np.arange(STEPS)]
    sequences = ids[:60].reshape(12, STEPS)
    cases = [
        (WindowDataset(ids, STEPS, 2, 4), windows),
        (SequenceDataset(ids, STEPS, 3, seed=2), sequences[: 3 * (11 // 3)]),
        (lines_dataset(LINES, 3), padded(LINES)[0]),
    ]
    for data, x in cases:
        next(iter(data))
        epoch = data.next_epoch
        model = make(kind, data.target_steps != ())
        expected = logits_of(model, x)
        if kind == "softmax":
            expected = ops.convert_to_numpy(ops.softmax(expected))
        found = model.predict(data, verbose=0)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert data.next_epoch == epoch  # the epoch that `fit` reads next


# === Billions of targets ===


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("steps_per_execution", [1, 16])
def test_measures_stay_exact_after_billions_of_targets(
    steps_per_execution, jit_compile
):
    """The weight of one batch is so large that float32 cannot add the others."""
    network = keras.Sequential(
        [
            keras.Input((2,), dtype="int32"),
            layers.Embedding(V, 4),
            layers.Flatten(),
            layers.Dense(V),
        ]
    )
    model = keras_writer.from_keras(network, VOCABULARY)
    spread(model.trainable_weights)
    model.compile(
        keras.optimizers.SGD(0.0),
        weighted_metrics=[textgen.Perplexity(), textgen.BitsPerCharacter(), "ce"],
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    x, y = random_ids(3000).reshape(1500, 2), random_ids(1500, 1)
    weights = np.full(1500, 3.0, np.float32)
    weights[:2] = 2.0**26  # float32 rounds sums of this size to multiples of 8
    logits = network.predict(x, verbose=0)
    y[:2] = logits[:2].argmax(axis=-1)  # better predictions than for the others
    nats = nats_of(logits, y)
    expected = (nats * weights).sum() / weights.astype(np.float64).sum()
    assert abs(expected - nats[:2].mean()) > 2e-5
    logs = model.evaluate(x, y, 2, 0, weights, return_dict=True)
    accuracy = {"abs": 1e-6}
    assert logs["loss"] == pytest.approx(expected, **accuracy)
    assert logs["ce"] == pytest.approx(expected, **accuracy)
    assert np.log(logs["perplexity"]) == pytest.approx(expected, **accuracy)
    bits = logs["bits_per_character"]
    assert bits * np.log(2) == pytest.approx(expected, **accuracy)


# === Frozen layers, in a file ===


def freeze_some(model, frozen=True):
    """Freezes or unfreezes the embedding and the last layer."""
    if isinstance(model, LanguageModel):
        some = [model.input_layer, model.output_layer]
    else:
        some = [model.network.layers[1], model.network.layers[-1]]
    for layer in some:
        layer.trainable = not frozen


def trainable_layers(model):
    return {
        layer.name: layer.trainable
        for layer in model._flatten_layers(include_self=False, recursive=True)
    }


def state_of(model):
    return [*model.weights, *model.optimizer.variables]


def small_fit(model, **kwargs):
    model.fit(WindowDataset(random_ids(20), STEPS, 1, 8), verbose=0, **kwargs)


@pytest.mark.parametrize("kind", ["language model", "softmax"])
@pytest.mark.parametrize("when", ["before compile", "after compile", "unfrozen"])
def test_frozen_layers_survive_a_file(when, kind, tmp_path):
    model = make(kind)
    if when != "after compile":
        freeze_some(model)
    compiled(model, optimizer=keras.optimizers.Adam(0.02))
    small_fit(model)
    if when == "after compile":
        freeze_some(model)
        model.make_train_function(force=True)  # the old one has the trainable weights
    if when == "unfrozen":
        freeze_some(model, frozen=False)
    model.save(tmp_path / "model.keras")
    loaded = textgen.load(tmp_path / "model.keras")
    assert trainable_layers(loaded) == trainable_layers(model)
    assert (False in trainable_layers(loaded).values()) == (when != "unfrozen")
    assert len(loaded.trainable_weights) == len(model.trainable_weights)
    assert_equal_arrays(state_of(model), state_of(loaded))
    # The training continues as if the model had not been saved.
    if when == "unfrozen":  # the optimizer has no states for the layers
        for each in (model, loaded):
            compiled(each, optimizer=keras.optimizers.Adam(0.02))
    frozen = [ops.convert_to_numpy(each) for each in model.non_trainable_weights]
    before = [ops.convert_to_numpy(each) for each in model.trainable_weights]
    for each in (model, loaded):
        small_fit(each, initial_epoch=1, epochs=2)
    assert_equal_arrays(state_of(model), state_of(loaded))
    assert_equal_arrays(frozen, loaded.non_trainable_weights)
    for old, new in zip(before, loaded.trainable_weights, strict=True):
        assert (old != ops.convert_to_numpy(new)).any()


def test_frozen_layers_survive_a_file_without_an_optimizer(tmp_path):
    for kind in ("language model", "softmax"):
        model = make(kind)
        freeze_some(model)
        model.save(tmp_path / "model.keras")
        loaded = textgen.load(tmp_path / "model.keras")
        assert trainable_layers(loaded) == trainable_layers(model)
        assert not loaded.compiled
        assert_equal_arrays(model.weights, loaded.weights)


# === Losses and metrics whose code is not in the file ===


def own_loss(y, y_pred):
    return ops.mean(y_pred, axis=-1)


class OwnMetric(keras.metrics.Mean):
    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(y_pred)


@pytest.mark.parametrize("kind", ["language model", "softmax"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"loss": own_loss},
        {"metrics": [own_loss]},
        {"metrics": [OwnMetric("own")]},
        {"weighted_metrics": [OwnMetric("own")]},
    ],
    ids=["loss", "function", "metric", "weighted metric"],
)
def test_model_with_custom_code_loads_uncompiled(arguments, kind, tmp_path):
    model = compiled(make(kind), **arguments)
    small_fit(model)
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match=r"not compiled.*loss or a metric"):
        loaded = textgen.load(tmp_path / "model.keras")
    assert not loaded.compiled
    assert_equal_arrays(model.weights, loaded.weights)
    compiled(loaded)
    small_fit(loaded)


# === Evaluations add no weights ===


def test_growing_evaluations_of_a_stateful_model_add_no_weights():
    model = compiled(make(sequences=True, rows=2))
    count, number = model.count_params(), len(model.weights)
    assert count == sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    for rows in (1, 3, 2, 7):
        data = consecutive(rows, 1, random_offset=False)
        model.evaluate(data, verbose=0)
        assert (model.count_params(), len(model.weights)) == (count, number)
    data = consecutive(9, 1, random_offset=False)
    model.fit(consecutive(batches=1), validation_data=data, verbose=0)
    assert (model.count_params(), len(model.weights)) == (count, number)
    assert len({id(weight) for weight in model.weights}) == number
