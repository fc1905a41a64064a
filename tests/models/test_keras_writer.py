import functools
import json
import re
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from keras import layers, ops
from small_networks import (
    CARRYING,
    STEPS,
    TEXT,
    VOCABULARY,
    WINDOWED,
    V,
    as_input,
    bidirectional,
    by_definition,
    distribution,
    flat,
    ids_input,
    one_hot_input,
    stack,
)

import textgen
from textgen.models import keras_writer
from textgen.models.keras_writer import from_keras

pytestmark = pytest.mark.usefixtures("seed")

NETWORKS = {
    **{f"window: {name}": make for name, make in WINDOWED.items()},
    **{f"state: {name}": make for name, make in CARRYING.items()},
}


def every(networks):
    return pytest.mark.parametrize("name", networks)


def tolerance(name):
    return 0.03 if "mixed" in name else 1e-5


@functools.cache
def known(name):
    """Returns a network, its writer and its predictions for TEXT; do not train it."""
    keras.utils.set_random_seed(0)
    network = NETWORKS[name]()
    writer = from_keras(network, VOCABULARY)
    return network, writer, by_definition(network, TEXT, writer.carries_state)


def test_old_name_is_an_alias_of_the_public_one():
    assert textgen.from_keras is from_keras
    assert textgen.LanguageModel.from_keras is textgen.from_keras


def test_vocabulary_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"must be a textgen\.Vocabulary"):
        from_keras(bidirectional(), "abcde\n")


# === Reading ===


@every(NETWORKS)
def test_distribution_is_that_of_predict(name):
    _, writer, expected = known(name)
    assert writer.carries_state == name.startswith("state")
    assert np.ptp(expected, axis=0).max() > 0.04  # the prediction depends on the text
    for length in (0, 1, 2, len(expected) - 1):
        assert distribution(writer, TEXT[:length]) == pytest.approx(
            expected[length], abs=tolerance(name)
        )


@every(NETWORKS)
def test_score_is_the_sum_of_predicted_log_probabilities(name):
    _, writer, expected = known(name)
    expected = expected[: len(TEXT)]
    text = TEXT[: len(expected)]
    expected = expected[np.arange(len(text)), VOCABULARY.encode(text)]
    # A carrying network was not trained to predict the first token of a text.
    expected = expected[1:] if writer.carries_state else expected
    # The score does not depend on other texts.
    first = 3 - writer.carries_state
    both = np.concatenate([expected[:first], expected])
    score = writer.score([text[:3], text])
    assert score.log_probs == pytest.approx(both, abs=tolerance(name))
    assert score.nats == pytest.approx(-both.mean(), abs=tolerance(name))


@every(["state: lstm", "state: all layers", "state: fixed steps"])
def test_start_step_is_read_where_it_was_learned(name):
    network, _, _ = known(name)
    writer = keras_writer.KerasWriter(network, VOCABULARY, start_step=True)
    text = TEXT[:3]
    expected = by_definition(network, text, True, start_step=True)
    for length in range(4):
        assert distribution(writer, text[:length]) == pytest.approx(
            expected[length], abs=1e-5
        )
    expected = expected[np.arange(3), VOCABULARY.encode(text)]
    assert writer.score(text).log_probs == pytest.approx(expected, abs=1e-5)


@every([name for name in NETWORKS if name.startswith("state")])
def test_state_carried_step_by_step_is_that_of_reading_at_once(name):
    _, writer, _ = known(name)
    ids = np.append(0, VOCABULARY.encode(TEXT)).astype(np.int32)
    _, at_once, last = writer.reader.read(ids[np.newaxis], writer.reader.initial(1))
    carry, one_by_one = writer.reader.initial(1), []
    for index in ids:
        logits, carry = writer.reader.step(np.array([index], np.int32), carry)
        one_by_one.append(ops.convert_to_numpy(logits)[0])
    near = {"abs": tolerance(name)}
    assert np.array(one_by_one) == pytest.approx(
        ops.convert_to_numpy(at_once)[0], **near
    )
    flat = [keras.tree.flatten(each) for each in (carry, last)]
    for one, other in zip(*flat, strict=True):
        assert ops.shape(one) == ops.shape(other)
        assert one.dtype == other.dtype
        assert ops.convert_to_numpy(ops.cast(one, "float32")) == pytest.approx(
            ops.convert_to_numpy(ops.cast(other, "float32")), **near
        )


def test_state_is_carried_through_a_long_prompt():
    network = CARRYING["lstm"]()
    writer = from_keras(network, VOCABULARY)
    writer.reader.max_read_steps = 8  # the prompt is read in chunks of 8 ids
    expected = by_definition(network, TEXT * 3, True)
    assert distribution(writer, TEXT * 3) == pytest.approx(expected[-1], abs=1e-5)
    assert writer.score(TEXT * 3).log_probs == pytest.approx(
        expected[np.arange(30), VOCABULARY.encode(TEXT * 3)][1:], abs=1e-5
    )


@every(["window: textgen's", "window: residual", "state: lstm"])
def test_greedy_text_is_the_most_probable_symbol_each_time(name):
    network, writer, _ = known(name)
    text = writer.generate("ab", 6, temperature=0)
    assert text[:2] == "ab" and len(text) == 8
    expected = by_definition(network, text, writer.carries_state)
    new = VOCABULARY.encode(text[2:]).astype(int)
    # The largest, up to rounding of two compilations.
    found = expected[np.arange(2, 8), new]
    assert (found >= expected[2:8].max(axis=-1) - 1e-4).all()
    [same, _] = writer.generate(["ab", "b"], 6, temperature=0)
    assert same == text


@every(["window: bidirectional", "state: lstm"])
def test_everything_writes(name):
    _, writer, _ = known(name)
    text = writer.generate(max_new_tokens=20, seed=1)
    assert len(text) == 20
    assert text == "".join(writer.stream(max_new_tokens=20, seed=1))
    [best, *_] = writer.generate("a", 5, num_beams=2, count=2)
    assert len(best) == 6
    assert writer.generate("ab", 30, seed=1, stop="\n").count("\n") == 0


def test_features_of_a_stack_are_those_of_its_last_recurrent_layer():
    network = CARRYING["all layers"]()
    writer = from_keras(network, VOCABULARY)
    ids = VOCABULARY.encode("abc")
    recurrent = network.layers[8]
    assert isinstance(recurrent, layers.SimpleRNN)
    inner = keras.Model(network.inputs, recurrent.output)
    expected = inner.predict(as_input(network, [ids]), verbose=0)[0, -1]
    assert writer.embed("abc") == pytest.approx(expected, abs=1e-5)
    assert writer.embed(["abc", "a"]).shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "size"),
    [("bidirectional", 8), ("one-hot, flat", STEPS * V), ("residual", 4)],
)
def test_features_of_a_window_are_what_the_last_dense_layer_gets(name, size):
    network = WINDOWED[name]()
    writer = from_keras(network, VOCABULARY, sequence_length=STEPS)
    assert writer.embed("abcde").shape == (size,)
    inner = keras.Model(network.inputs, network.layers[-1].input)
    ids = VOCABULARY.encode("bcde")
    expected = inner.predict(as_input(network, [ids]), verbose=0)[0]
    expected = expected if expected.ndim == 1 else expected[-1]
    assert writer.embed("abcde") == pytest.approx(expected, abs=1e-5)


def test_features_without_a_dense_layer_are_the_logits():
    network = keras.Sequential(
        [ids_input(), layers.Embedding(V, 3), layers.Conv1D(V, 4), layers.Flatten()]
    )
    writer = from_keras(network, VOCABULARY)
    expected = network.predict(VOCABULARY.encode("abca")[np.newaxis], verbose=0)[0]
    assert writer.embed("abca") == pytest.approx(expected, abs=1e-5)


def test_sigmoids_named_probabilities_are_compared_with_each_other():
    network = stack(layers.LSTM(4), activation="sigmoid")
    writer = from_keras(network, VOCABULARY, output="probabilities", sequence_length=3)
    ids = VOCABULARY.encode("abc")[np.newaxis]
    expected = network.predict(ids, verbose=0)[0]
    assert np.exp(distribution(writer, "abc")) == pytest.approx(
        expected / expected.sum(), abs=1e-5
    )


def test_probability_of_zero_is_finite():
    network = stack(layers.GRU(4, return_sequences=True), activation="softmax")
    kernel, bias = network.layers[-1].get_weights()
    bias[:] = [-1e4, 0, 0, 0, 0, 0]
    network.layers[-1].set_weights([kernel, bias])
    writer = from_keras(network, VOCABULARY)
    log_probs = writer.score("a\nb").log_probs
    assert np.isfinite(log_probs).all() and log_probs[0] < -80
    assert "\n" not in writer.generate("a", 50, seed=0)


def test_half_precision_probabilities_become_logits_of_single_precision():
    network = stack(layers.GRU(4, return_sequences=True), activation="softmax")
    network.layers[-1].dtype_policy = "float16"
    halved = keras.Sequential.from_config(network.get_config())
    halved.set_weights(network.get_weights())
    writer = from_keras(halved, VOCABULARY)
    assert halved.predict(np.zeros((1, 2), int), verbose=0).dtype == np.float16
    ids, carry = np.zeros((1, 2), np.int32), writer.reader.initial(1)
    _, logits, _ = writer.reader.read(ids, carry)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert writer.score(TEXT).nats == pytest.approx(
        from_keras(network, VOCABULARY).score(TEXT).nats, abs=5e-3
    )


# === Training ===


def compile(model, loss="sparse_categorical_crossentropy", **kwargs):
    """Compiles without XLA: its compilation takes longer than it saves here."""
    model.compile(keras.optimizers.Adam(0.02), loss, jit_compile=False, **kwargs)
    return model


def windows():
    ids = VOCABULARY.encode(TEXT * 8)
    return textgen.WindowDataset(ids, STEPS, batch_size=16, seed=0)


def test_fit_trains_the_network_and_shows_text(capsys):
    network = bidirectional()
    writer = from_keras(network, VOCABULARY)
    compile(writer, run_eagerly=True)
    before = writer.score(TEXT).nats
    sample = textgen.SampleText("ab", 0.5, max_new_tokens=7)
    writer.fit(windows(), epochs=3, verbose=0, callbacks=[sample])
    said = capsys.readouterr().out
    assert said.count("--- temperature 0.5, after epoch") == 3
    assert writer.generate("ab", 7, 0.5, seed=0) in said
    assert writer.score(TEXT).nats < before - 0.1
    expected = by_definition(network, TEXT, False)  # of the wrapped network
    assert distribution(writer, TEXT) == pytest.approx(expected[-1], abs=1e-5)


def test_training_of_the_network_is_that_of_the_writer():
    network = flat()
    compile(network)
    writer = from_keras(network, VOCABULARY)
    before = writer.score(TEXT).nats
    network.fit(windows(), epochs=3, verbose=0)
    assert writer.score(TEXT).nats < before - 0.1


def test_compiled_network_continues_with_its_optimizer():
    def network():
        keras.utils.set_random_seed(0)
        made = compile(flat(), metrics=["accuracy"], run_eagerly=True)
        made.fit(windows(), verbose=0)
        return made

    alone = network()
    writer = from_keras(network(), VOCABULARY)
    histories = [
        model.fit(windows(), epochs=2, verbose=0, shuffle=False).history
        for model in (alone, writer)
    ]
    for key in ("loss", "accuracy"):
        assert histories[1][key] == pytest.approx(histories[0][key], abs=1e-6)


def test_reading_does_not_change_the_training():
    def network():
        keras.utils.set_random_seed(0)
        inner = layers.LSTM(5, recurrent_dropout=0.4, dropout=0.2, unroll=True)
        made = stack(inner, start=[one_hot_input()], activation="softmax")
        return compile(made, run_eagerly=True)

    x = VOCABULARY.one_hot(VOCABULARY.encode("abcdabcd").reshape(2, 4))
    y = VOCABULARY.encode("ea")
    losses = []
    for reads in (False, True):
        made = network()
        if reads:
            writer = from_keras(made, VOCABULARY)
            writer.score(TEXT)
            writer.generate(max_new_tokens=3)
        lstm = made.layers[0]
        assert (lstm.recurrent_dropout, lstm.dropout, lstm.unroll) == (0.4, 0.2, True)
        assert lstm.use_cudnn == "auto" and not lstm.return_state
        losses.append(made.fit(x, y, epochs=4, verbose=0).history["loss"])
    assert losses[0] == losses[1]


def test_generation_does_not_change_the_states_of_a_stateful_network():
    network = CARRYING["stateful"]()
    writer = from_keras(network, VOCABULARY)
    recurrent = network.layers[1]
    network(np.ones((2, STEPS), np.int32))
    before = ops.convert_to_numpy(recurrent.states[0])
    assert np.any(before)
    writer.score([TEXT, "ab"])
    writer.generate(["a", "b", "c"], 3)
    assert np.array_equal(ops.convert_to_numpy(recurrent.states[0]), before)
    assert recurrent.stateful


def stateful():
    """A stack of two stateful layers, with a batch of 2 rows of STEPS steps."""
    return stack(
        layers.LSTM(5, return_sequences=True, stateful=True),
        layers.GRU(3, return_sequences=True, stateful=True),
        start=[
            keras.Input(batch_shape=(2, STEPS), dtype="int32"),
            layers.Embedding(V, 5),
        ],
    )


def loss_from(network, x, y, states):
    """Mean cross-entropy of the layers of `stateful`, called with `initial_state`."""
    embedding, *recurrent, dense = network.layers
    outputs = embedding(x)
    for layer, state in zip(recurrent, states, strict=True):
        config = {**layer.get_config(), "stateful": False}
        copy = type(layer).from_config(config)
        copy.build(outputs.shape)
        copy.set_weights(layer.get_weights())
        outputs = copy(outputs, initial_state=state)
    logits = dense(outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return float(loss(y, logits))


def test_training_starts_from_the_values_of_reset_state():
    network = stateful()
    writer = textgen.from_keras(network, VOCABULARY)
    writer.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    shapes = [(2, 5), (2, 5), (2, 3)]
    assert [state.shape for state in writer.carried_state] == shapes
    generator = np.random.default_rng(1)
    values = [generator.normal(0, 1, shape).astype(np.float32) for shape in shapes]
    x, y = generator.integers(0, V, (2, 2, STEPS)).astype(np.int32)
    expected = loss_from(network, x, y, [values[:2], [values[2]]])
    zero = [np.zeros(shape, np.float32) for shape in shapes]
    for others in (zero, [values[1], values[0], values[2]], [*values[:2], zero[2]]):
        other = loss_from(network, x, y, [others[:2], [others[2]]])
        assert abs(other - expected) > 1e-3
    writer.reset_state(values)
    for found, value in zip(writer.carried_state, values, strict=True):
        np.testing.assert_array_equal(found, value)
    assert writer.train_on_batch(x, y) == pytest.approx(expected, rel=1e-5)
    assert not np.array_equal(writer.carried_state[0], values[0])
    # An evaluation starts from zero, and restores the state of the training.
    before = writer.carried_state
    from_zero = loss_from(network, x, y, [zero[:2], [zero[2]]])
    loss = writer.evaluate(x, y, batch_size=2, verbose=0)
    assert loss == pytest.approx(from_zero, rel=1e-5)
    for found, value in zip(writer.carried_state, before, strict=True):
        np.testing.assert_array_equal(found, value)
    writer.reset_state()
    assert not any(state.any() for state in writer.carried_state)
    writer.reset_metrics()
    assert writer.train_on_batch(x, y) == pytest.approx(from_zero, rel=1e-5)


def test_states_of_other_shapes_are_refused():
    carried = "[(2, 5), (2, 5), (2, 3)]"
    for network, expected in ((stateful(), carried), (bidirectional(), "[]")):
        writer = textgen.from_keras(network, VOCABULARY)
        assert (expected == "[]") == (writer.carried_state == [])
        both = rf"{re.escape('[(2, 4), (2,)]')}.*{re.escape(expected)}"
        with pytest.raises(ValueError, match=both):
            writer.reset_state([np.zeros((2, 4)), np.zeros(2)])


def test_stack_learns_from_sequences():
    network = stack(layers.GRU(5, return_sequences=True))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    compile(network, loss)
    writer = from_keras(network, VOCABULARY)
    before = writer.score(TEXT).nats
    ids = VOCABULARY.encode(TEXT * 10).reshape(10, 10)
    writer.fit(ids[:, :-1], ids[:, 1:], epochs=20, verbose=0)
    assert writer.score(TEXT).nats < before - 0.1


# === Saving ===


@every(NETWORKS)
def test_file_keeps_everything(name, tmp_path):
    network, writer, _ = known(name)
    writer.save(tmp_path / "model.keras")
    loaded = textgen.load(tmp_path / "model.keras")
    assert type(loaded) is keras_writer.KerasWriter
    assert loaded.vocabulary == VOCABULARY
    for one, other in zip(network.weights, loaded.weights, strict=True):
        assert np.array_equal(one, other)
    assert loaded.carries_state == writer.carries_state
    assert loaded.padding == writer.padding
    if "stateful" not in name:
        rows = as_input(network, VOCABULARY.encode("abcdbcde").reshape(2, STEPS))
        outputs = [ops.convert_to_numpy(each(rows)) for each in (network, loaded)]
        assert np.array_equal(*outputs)
    configs = [json.dumps(each.get_config()) for each in (writer, loaded)]
    assert configs[0] == configs[1]


def test_notes_survive_a_file(tmp_path):
    writer = from_keras(flat(), VOCABULARY)
    assert writer.notes == {}
    notes = {"corpus": "poems.txt", "held-out loss": 1.25, "lines": [3, None]}
    writer.notes = notes
    path = tmp_path / "model.keras"
    writer.save(path)
    assert textgen.load(path).notes == notes
    # A file of an older version has no notes.
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    saved = json.loads(parts["config.json"])
    assert saved["config"].pop("notes") == notes
    parts["config.json"] = json.dumps(saved).encode()
    parts["metadata.json"] = b"{}"  # older versions stored no checksums
    with zipfile.ZipFile(path, "w") as file:
        for name, part in parts.items():
            file.writestr(name, part)
    assert textgen.load(path).notes == {}


def test_file_keeps_what_was_named(tmp_path):
    network = stack(layers.LSTM(4), activation="sigmoid")
    writer = from_keras(
        network,
        VOCABULARY,
        output="probabilities",
        sequence_length=3,
        padding="b",
    )
    writer.save(tmp_path / "model.keras")
    loaded = textgen.load(tmp_path / "model.keras")
    assert (loaded.output_kind, loaded.sequence_length) == ("probabilities", 3)
    assert loaded.padding == "b"
    assert np.array_equal(distribution(loaded, "a"), distribution(writer, "a"))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_file_keeps_the_optimizer(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        network = flat()
    finally:
        keras.config.set_dtype_policy("float32")
    compile(network)
    writer = from_keras(network, VOCABULARY)
    writer.fit(windows(), verbose=0)
    writer.save(tmp_path / "model.keras")
    loaded = textgen.load(tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(writer.optimizer)
    for one, other in zip(
        writer.optimizer.variables, loaded.optimizer.variables, strict=True
    ):
        assert np.array_equal(one, other)
    losses = [
        model.fit(windows(), verbose=0, shuffle=False).history["loss"]
        for model in (writer, loaded)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_custom_loss_is_not_part_of_a_file(tmp_path):
    def own(y, logits):
        return keras.ops.sparse_categorical_crossentropy(y, logits, from_logits=True)

    writer = from_keras(flat(activation=None), VOCABULARY)
    compile(writer, own)
    writer.fit(windows(), verbose=0)
    writer.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="not compiled: its optimizer, its loss"):
        loaded = textgen.load(tmp_path / "model.keras")
    for one, other in zip(writer.weights, loaded.weights, strict=True):
        assert np.array_equal(one, other)
    assert not loaded.compiled
    network = flat(activation=None)
    compile(network, own)
    with pytest.warns(UserWarning, match="not compiled: its optimizer, its loss"):
        assert not from_keras(network, VOCABULARY).compiled


def test_file_loads_in_a_fresh_process(tmp_path):
    writer = from_keras(WINDOWED["textgen's"](), VOCABULARY)
    writer.save(tmp_path / "model.keras")
    program = (
        "import sys, textgen; model = textgen.load(sys.argv[1]); "
        "print(model.generate('ab', 9, seed=1).encode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "model.keras"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(writer.generate("ab", 9, seed=1).encode())
