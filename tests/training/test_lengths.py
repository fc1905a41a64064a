"""Batches of a few lengths, or of many."""

import keras
import numpy as np
import pytest

import textgen
from textgen import lines as lines_
from textgen import tracing
from textgen.batches import View
from textgen.training import resuming

VOCABULARY = textgen.Vocabulary("\nabcdefgh")


def make_ids():
    """Short lines, and a few that are longer than the others."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 5, 46)
    lengths[::9] = generator.integers(12, 15, 6)
    ids = generator.integers(1, 9, lengths.sum() + 46).astype(np.int8)
    ids[np.cumsum(lengths + 1) - 1] = 0
    return ids


IDS = make_ids()


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch):
    monkeypatch.setattr(lines_, "_LEAST_STEPS", 40)


def buckets(**arguments):
    data = textgen.LineDataset(IDS, 0, batch_size=4, **arguments)
    assert len(data.bucket_steps) == 2
    return data


def compiled():
    keras.utils.set_random_seed(0)
    model = textgen.LanguageModel(
        VOCABULARY, cell="simple_rnn", units=5, return_sequences=True
    )
    model.compile(keras.optimizers.Adam(0.01), metrics=["accuracy"])
    return model


@pytest.fixture
def loops(monkeypatch):
    """The number of steps of each loop that is compiled; None: unknown in the graph."""
    found = []
    run = tracing.run_compiled

    def recorded(function, z, *others):
        if not isinstance(z, list):  # not the gradient
            found.append(z.shape[0])
        return run(function, z, *others)

    monkeypatch.setattr(tracing, "run_compiled", recorded)
    return found


def test_training_in_buckets_is_that_of_its_batches():
    data, model = buckets(), compiled()
    history = model.fit(data, epochs=2, verbose=0).history
    reference = compiled()
    for epoch in range(2):
        nats = targets = 0.0
        for x, y in (data.batch(index, epoch) for index in range(len(data))):
            number = (y >= 0).sum()
            nats += number * reference.train_on_batch(x, y)[0]
            reference.reset_metrics()
            targets += number
        # The mean over all targets, not over batches.
        assert history["loss"][epoch] == pytest.approx(nats / targets, rel=1e-4)
    for one, other in zip(model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_evaluation_and_prediction_in_buckets():
    model, data = compiled(), buckets()
    loss, accuracy = model.evaluate(data, verbose=0)
    nats, right, targets = 0.0, 0, 0
    outputs = []
    for index in range(len(data)):
        x, y = data.batch(index, None)
        logits = keras.ops.convert_to_numpy(model(x))
        outputs.append(logits)
        probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        for row, column in zip(*np.nonzero(y >= 0), strict=True):
            nats -= np.log(probabilities[row, column, y[row, column]])
            right += logits[row, column].argmax() == y[row, column]
            targets += 1
    assert loss == pytest.approx(nats / targets, rel=1e-4)
    assert accuracy == pytest.approx(right / targets, rel=1e-4)
    predicted = model.predict(data, verbose=0)
    np.testing.assert_allclose(predicted, np.concatenate(outputs), atol=1e-5)
    history = model.fit(data, validation_data=data, verbose=0).history
    again = model.evaluate(data, verbose=0)
    assert [history["val_loss"][0], history["val_accuracy"][0]] == pytest.approx(again)


def test_loops_are_compiled_for_few_lengths_only(loops):
    model, few = compiled(), buckets()
    many = textgen.LineDataset(IDS, 0, batch_size=4, stateful=True)
    model.fit(many, steps_per_epoch=2, verbose=0)
    model.evaluate(many, steps=2, verbose=0)
    assert loops == []
    model.fit(few, steps_per_epoch=2, verbose=0)  # drops the graph of `many`
    assert set(loops) == {None}
    for use in (
        lambda: model.evaluate(few, steps=2, verbose=0),
        lambda: model.evaluate(View(few, 3), steps=2, verbose=0),
        lambda: model.fit(few, steps_per_epoch=2, validation_data=few, verbose=0),
    ):
        use()
    loops.clear()
    model.fit(few, steps_per_epoch=2, validation_data=few, verbose=0)
    assert loops == []  # the graphs are still there
    model.fit(many, steps_per_epoch=2, verbose=0)
    assert loops == []
    model.fit(few, steps_per_epoch=2, verbose=0)
    assert set(loops) == {None}


def test_graph_of_many_lengths_is_not_used_for_one_length(loops):
    model = compiled()
    many = textgen.LineDataset(IDS, 0, batch_size=4, stateful=True)
    model.fit(many, steps_per_epoch=1, verbose=0)
    one = textgen.LineDataset(IDS, 0, 9, batch_size=4, max_buckets=1)
    model.fit(one, steps_per_epoch=1, verbose=0)
    assert set(loops) == {9}


def test_step_is_traced_once_for_all_shapes():
    model, data = compiled(), buckets()
    traces = []
    compute = model.compute_loss

    def counted(*args, **kwargs):
        traces.append(args)
        return compute(*args, **kwargs)

    model.compute_loss = counted
    assert len({data.batch(index, 0)[0].shape for index in range(len(data))}) == 3
    model.fit(data, verbose=0)
    first = len(traces)
    model.fit(data, epochs=2, verbose=0)
    assert first == len(traces) <= 2  # Keras builds the metrics with the first trace


@pytest.mark.parametrize("most", [1, 8])
def test_size_of_a_validation_in_training_batches(most):
    train = buckets()
    validation = textgen.LineDataset(IDS, 0, batch_size=2, max_buckets=most)
    arguments = {"x": View(train, 0), "validation_data": View(validation, 0)}
    read = sum(2 * x.shape[1] for x, _ in View(validation, 0))
    typical = np.mean([4 * x.shape[1] for x, _ in View(train, 0)])
    found = resuming._validation_batches(arguments)
    assert found == pytest.approx(read / typical)


@pytest.mark.parametrize("options", [{"jit_compile": True}, {"steps_per_execution": 7}])
def test_options_of_compile(options):
    model, other = compiled(), compiled()
    model.compile(keras.optimizers.Adam(0.01), metrics=["accuracy"], **options)
    found = model.fit(buckets(), verbose=0).history
    expected = other.fit(buckets(), verbose=0).history
    for name in ("loss", "accuracy"):
        assert found[name] == pytest.approx(expected[name], rel=1e-4)
