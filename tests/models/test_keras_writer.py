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

import textgen
from textgen import Vocabulary
from textgen.models import keras_writer
from textgen.models import network as networks
from textgen.models.keras_writer import from_keras

VOCABULARY = Vocabulary.from_text("abcde\n")  # the newline is id 0
V = len(VOCABULARY)
STEPS = 4
TEXT = "abcadee\nbc"


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(0)


def ids_input(steps=STEPS):
    return keras.Input((steps,), dtype="int32")


def one_hot_input(steps=STEPS):
    return keras.Input((steps, V))


def spread(activation=None):
    """The last layer, with weights large enough for clearly different logits."""
    return layers.Dense(
        V, activation, kernel_initializer=keras.initializers.RandomNormal(stddev=2.0)
    )


def stack(*inner, start=None, activation=None):
    start = start or [ids_input(None), layers.Embedding(V, 5)]
    return keras.Sequential([*start, *inner, spread(activation)])


def bidirectional(steps=STEPS, activation="softmax", **kwargs):
    return keras.Sequential(
        [
            ids_input(steps),
            layers.Embedding(V, 5, **kwargs),
            layers.Bidirectional(layers.GRU(4)),
            spread(activation),
        ]
    )


def flat(activation="softmax"):
    """The network that trains fastest."""
    return keras.Sequential(
        [ids_input(), layers.Embedding(V, 5), layers.Flatten(), spread(activation)]
    )


def attention():
    tokens = ids_input()
    x = layers.Embedding(V, 4)(tokens)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 2)(x, x)])
    x = layers.Concatenate()([x, layers.Attention()([x, x])])
    return keras.Model(tokens, spread()(layers.GlobalAveragePooling1D()(x)))


def residual_sequences():
    """A network with a prediction at each step that is not a stack."""
    tokens = ids_input(None)
    x = layers.Embedding(V, 4)(tokens)
    x = layers.Add()([x, layers.GRU(4, return_sequences=True)(x)])
    return keras.Model(tokens, spread("softmax")(x))


WINDOWED = {
    "bidirectional": bidirectional,
    "masked": lambda: bidirectional(mask_zero=True),
    "masked sequences": lambda: stack(
        layers.LSTM(4, return_sequences=True),
        start=[ids_input(), layers.Embedding(V, 5, mask_zero=True)],
    ),
    "many-to-one lstm": lambda: stack(layers.LSTM(5), start=[one_hot_input()]),
    "convolution": lambda: keras.Sequential(
        [
            ids_input(),
            layers.Embedding(V, 4),
            layers.ZeroPadding1D(1),
            layers.Conv1D(4, 3, activation="relu"),
            layers.SeparableConv1D(4, 2),
            layers.BatchNormalization(),
            layers.MaxPooling1D(2),
            layers.Flatten(),
            layers.PReLU(),
            spread(),
        ]
    ),
    "one-hot, flat": lambda: keras.Sequential(
        [one_hot_input(), layers.Flatten(), spread("softmax")]
    ),
    "one-hot, a step": lambda: keras.Sequential([one_hot_input(), spread()]),
    "reversed": lambda: stack(
        layers.LSTM(4, return_sequences=True, go_backwards=True),
        start=[ids_input(), layers.Embedding(V, 5)],
    ),
    "seq2seq": lambda: keras.Sequential(
        [
            ids_input(),
            layers.Embedding(V, 4),
            layers.SimpleRNN(5, unroll=True),
            layers.RepeatVector(2),
            layers.GRU(4, return_sequences=True, dropout=0.3),
            layers.TimeDistributed(spread("softmax")),
        ]
    ),
    "attention": attention,
    "residual": residual_sequences,
    "normalised over time": lambda: stack(
        layers.GRU(4, return_sequences=True),
        layers.LayerNormalization(axis=[1, 2]),
        start=[one_hot_input()],
    ),
    "textgen's": lambda: keras.Sequential(
        [ids_input(), textgen.OneHot(V), textgen.LSTM(5), spread("softmax")]
    ),
}
CARRYING = {
    "lstm": lambda: stack(layers.LSTM(5, return_sequences=True)),
    "all layers": lambda: keras.Sequential(
        [
            one_hot_input(None),
            layers.Dense(4, activation=layers.LeakyReLU()),
            layers.SpatialDropout1D(0.2),
            layers.LSTM(5, return_sequences=True, recurrent_dropout=0.3),
            layers.LayerNormalization(),
            layers.Dropout(0.3),
            layers.GRU(4, return_sequences=True, dropout=0.2, implementation=1),
            layers.BatchNormalization(),
            layers.GaussianNoise(0.1),
            layers.SimpleRNN(4, return_sequences=True, unroll=False),
            layers.Activation("tanh"),
            layers.TimeDistributed(spread()),
            layers.Softmax(),
        ]
    ),
    "fixed steps": lambda: stack(
        layers.GRU(4, return_sequences=True, unroll=True),
        start=[ids_input(), layers.Embedding(V, 5)],
        activation="softmax",
    ),
    "stateful": lambda: stack(
        layers.GRU(4, return_sequences=True, stateful=True),
        start=[
            keras.Input(batch_shape=(2, STEPS), dtype="int32"),
            layers.Embedding(V, 5),
        ],
    ),
    "nested": lambda: stack(
        keras.Sequential(
            [
                layers.LSTM(5, return_sequences=True),
                layers.SimpleRNN(4, return_sequences=True),
            ]
        ),
    ),
    "textgen's": lambda: keras.Sequential(
        [
            ids_input(None),
            textgen.OneHot(V),
            textgen.LSTM(5, return_sequences=True),
            textgen.GRU(5, return_sequences=True),
            spread("log_softmax"),
        ]
    ),
    "functional": lambda: keras.Model(
        tokens := ids_input(None),
        spread("softmax")(
            layers.LSTM(4, return_sequences=True, return_state=True)(
                layers.Embedding(V, 3)(tokens)
            )[0]
        ),
    ),
    "mixed precision": lambda: stack(
        layers.LSTM(5, return_sequences=True, dtype="mixed_bfloat16"),
        textgen.GRU(4, return_sequences=True, dtype="mixed_bfloat16"),
    ),
}
NETWORKS = {
    **{f"window: {name}": make for name, make in WINDOWED.items()},
    **{f"state: {name}": make for name, make in CARRYING.items()},
}


def every(networks):
    return pytest.mark.parametrize("name", networks)


def tolerance(name):
    return 0.03 if "mixed" in name else 1e-5


def log_softmax(x):
    x = x.astype(np.float64)
    return x - np.log(np.sum(np.exp(x), axis=-1, keepdims=True))


def as_input(network, rows):
    """Converts rows of ids to the input of a network; -1 is a row of zeros."""
    rows = np.asarray(rows, np.int32)
    return VOCABULARY.one_hot(rows) if len(network.inputs[0].shape) == 3 else rows


def start_of(network):
    kinds = {type(layer) for layer in network.layers}
    one_hot = len(network.inputs[0].shape) == 3 or textgen.OneHot in kinds
    return -1 if one_hot else VOCABULARY.ids["\n"]


def by_definition(network, text, carries, window=40, start_step=False):
    """Log probabilities of the next token after the start, and after each token.

    They are computed by `network.predict`, from the window or from the complete prefix.
    Zeros follow the prefix: they would change the result of a network that looks ahead.
    A network that carries its state reads the start step only if it was trained with
    it, or if the text is empty.
    """
    ids = [start_of(network), *VOCABULARY.encode(text).tolist()]
    if carries and not start_step and text:
        empty = by_definition(network, "", True, start_step=True)
        found = by_definition_of_ids(network, ids[1:], True, window)
        return np.concatenate([empty, found])
    return by_definition_of_ids(network, ids, carries, window)


def by_definition_of_ids(network, ids, carries, window):
    """Log probabilities of the next token after each id."""
    batch, fixed = network.inputs[0].shape[:2]
    ends = range(1, len(ids) + 1)
    if carries:
        length = fixed or len(ids)
        ends = ends[:length]
        rows = [(ids[:end] + [0] * length)[:length] for end in ends]
    else:
        length = fixed or window
        rows = [([ids[0]] * length + ids[:end])[-length:] for end in ends]
    if batch is None:
        outputs = network.predict(as_input(network, rows), len(rows), verbose=0)
    else:  # a stateful network with a fixed batch size
        outputs = []
        for row in rows:
            network.layers[1].reset_state()
            outputs.append(
                network.predict(np.array([row] * batch), batch, verbose=0)[0]
            )
        outputs = np.array(outputs)
    if carries:
        outputs = np.array(
            [output[end - 1] for end, output in zip(ends, outputs, strict=True)]
        )
    outputs = outputs[:, -1] if outputs.ndim == 3 else outputs
    if np.all(outputs >= 0) and np.allclose(outputs.sum(axis=-1), 1):
        return np.log(outputs.astype(np.float64))
    return log_softmax(outputs)


@functools.cache
def known(name):
    """Returns a network, its writer and its predictions for TEXT; do not train it."""
    keras.utils.set_random_seed(0)
    network = NETWORKS[name]()
    writer = from_keras(network, VOCABULARY)
    return network, writer, by_definition(network, TEXT, writer.carries_state)


def distribution(writer, text):
    """Log probabilities of the next token, from the loop of `generate`."""
    found = dict(writer.next_symbols(text, V))
    return np.log([found[symbol] for symbol in VOCABULARY.symbols])


def test_old_name_is_an_alias_of_the_public_one():
    assert textgen.from_keras is from_keras
    assert textgen.LanguageModel.from_keras is textgen.from_keras


# === Reading ===


@every(NETWORKS)
def test_distribution_is_that_of_predict(name):
    _, writer, expected = known(name)
    assert writer.carries_state == name.startswith("state")
    assert np.ptp(expected, axis=0).max() > 0.05  # the prediction depends on the text
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
    score = writer.score(text)
    assert score.log_probs == pytest.approx(expected, abs=tolerance(name))
    assert score.nats == pytest.approx(-expected.mean(), abs=tolerance(name))
    both = writer.score([text[:3], text])  # the score does not depend on other texts
    first = 3 - writer.carries_state
    assert both.log_probs == pytest.approx(
        np.concatenate([expected[:first], expected]), abs=tolerance(name)
    )


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


# === What goes in and comes out ===


@pytest.mark.parametrize("kind", ["ids", "one_hot"])
@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize("sequences", [False, True])
def test_input_and_output_are_detected(kind, activation, sequences):
    start = [one_hot_input()] if kind == "one_hot" else None
    network = stack(
        layers.GRU(4, return_sequences=sequences), start=start, activation=activation
    )
    writer = from_keras(network, VOCABULARY)
    output = "probabilities" if activation else "logits"
    assert (writer.input_kind, writer.output_kind) == (kind, output)
    assert writer.return_sequences == writer.carries_state == sequences
    assert writer.sequence_length == (STEPS if kind == "one_hot" else 40)
    named = from_keras(network, VOCABULARY, input=kind, output=output)
    assert named.get_config().keys() == writer.get_config().keys()
    rows = as_input(network, VOCABULARY.encode("abcdabcd").reshape(2, 4))
    assert np.array_equal(
        writer.predict(rows, verbose=0), network.predict(rows, verbose=0)
    )
    assert writer.compute_output_shape((2, *network.inputs[0].shape[1:])) == (
        network.compute_output_shape((2, *network.inputs[0].shape[1:]))
    )


@pytest.mark.parametrize(
    ("last", "output"),
    [
        ([layers.Softmax], "probabilities"),
        ([lambda: layers.Activation("softmax")], "probabilities"),
        ([lambda: layers.Dense(V, layers.Softmax())], "probabilities"),
        ([lambda: layers.Dense(V, "softmax"), lambda: layers.Dropout(0.1)], None),
        ([lambda: layers.TimeDistributed(layers.Dense(V, "softmax"))], None),
        ([lambda: keras.Sequential([layers.Dense(V, "softmax")])], None),
        ([lambda: layers.Activation("linear")], "logits"),
        ([lambda: layers.Activation("log_softmax")], "logits"),
        ([lambda: layers.Conv1D(V, 1)], "logits"),
    ],
)
def test_last_activation_is_found(last, output):
    network = keras.Sequential(
        [ids_input(), layers.Embedding(V, V), *(make() for make in last)]
    )
    writer = from_keras(network, VOCABULARY)
    assert writer.output_kind == (output or "probabilities")


@pytest.mark.parametrize(
    ("last", "what"),
    [
        (lambda: layers.Dense(V, "sigmoid", name="end"), "activation='sigmoid'"),
        (lambda: layers.Dense(V, "relu", name="end"), "activation='relu'"),
        (lambda: layers.LSTM(V, activation="softmax", name="end"), "no activation"),
        (lambda: layers.GRU(V, activation="linear", name="end"), "no activation"),
        (lambda: layers.ReLU(name="end"), "no activation"),
        (lambda: layers.Softmax(axis=1, name="end"), "no activation"),
    ],
)
def test_unclear_output_must_be_named(last, what):
    network = keras.Sequential([ids_input(), layers.Embedding(V, V), last()])
    with pytest.raises(ValueError, match=f"'end' .* {what}.*output='logits'"):
        from_keras(network, VOCABULARY)
    assert from_keras(network, VOCABULARY, output="logits").output_kind == "logits"


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


@pytest.mark.parametrize(
    ("symbols", "padding", "start"),
    [
        ("ab\t\n ", None, "\n"),
        ("ab! ", None, " "),
        ("ab!", None, "!"),
        ("ab\n", "b", "b"),
    ],
)
def test_padding_of_a_network_that_takes_ids(symbols, padding, start):
    vocabulary = Vocabulary.from_text(symbols)
    size = len(vocabulary)
    network = keras.Sequential(
        [
            ids_input(3),
            layers.Embedding(size, 4),
            layers.LSTM(4),
            layers.Dense(size, kernel_initializer="orthogonal"),
        ]
    )
    writer = from_keras(network, vocabulary, padding=padding)
    window = [vocabulary.ids[start]] * 2 + [vocabulary.ids["a"]]
    expected = log_softmax(network.predict(np.array([window]), verbose=0)[0])
    found = dict(writer.next_symbols("a", size))
    assert np.log([found[each] for each in vocabulary.symbols]) == pytest.approx(
        expected, abs=1e-5
    )
    assert writer.padding == start


def test_network_that_begins_with_textgens_layers_needs_no_padding():
    make = WINDOWED["textgen's"]
    assert from_keras(make(), VOCABULARY).padding is None
    network = make()
    writer = from_keras(network, VOCABULARY, padding="a")
    expected = network.predict(np.full((1, STEPS), VOCABULARY.ids["a"]), verbose=0)[0]
    assert distribution(writer, "") == pytest.approx(np.log(expected), abs=1e-5)


def test_window_of_a_network_with_open_steps():
    network = residual_sequences()
    assert from_keras(network, VOCABULARY).sequence_length == 40
    writer = from_keras(network, VOCABULARY, sequence_length=3)
    expected = by_definition(network, TEXT, False, window=3)
    assert distribution(writer, TEXT) == pytest.approx(expected[-1], abs=1e-5)
    other = by_definition(network, TEXT, False, window=6)
    assert distribution(writer, TEXT) != pytest.approx(other[-1], abs=1e-4)


# === What is refused ===


@keras.saving.register_keras_serializable(package="tests")
class Doubled(layers.Dense):
    pass


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


@keras.saving.register_keras_serializable(package="tests")
def scaled(x):
    return 2 * x


def wrapped(layer):
    return keras.Sequential(
        [ids_input(), layers.Embedding(V, 4), layer, layers.LSTM(4), spread()]
    )


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda: wrapped(layers.Lambda(lambda x: x, name="it")), r"'it' \(Lambda\)"),
        (lambda: wrapped(Doubled(4, name="it")), r"'it' \(Doubled\)"),
        (lambda: wrapped(layers.Rescaling(2.0, name="it")), r"'it' \(Rescaling\)"),
        (
            lambda: wrapped(layers.TimeDistributed(Doubled(4, name="it"))),
            r"'it' \(Doubled\)",
        ),
        (
            lambda: wrapped(
                layers.Bidirectional(
                    layers.GRU(4, return_sequences=True, activation=scaled, name="it")
                )
            ),
            r"'forward_it' \(GRU\) has activation='scaled'",
        ),
        (
            lambda: wrapped(keras.Sequential([Doubled(4, name="it")])),
            r"'it' \(Doubled\)",
        ),
        (
            lambda: wrapped(layers.Dense(4, activation=scaled, name="it")),
            r"'it' \(Dense\) has activation='scaled'",
        ),
        (
            lambda: wrapped(
                layers.Dense(4, activation=layers.Lambda(scaled, name="it"))
            ),
            r"'it' \(Lambda\)",
        ),
        (
            lambda: wrapped(
                layers.LSTM(4, activation=scaled, return_sequences=True, name="it")
            ),
            r"'it' \(LSTM\) has activation='scaled'",
        ),
        (
            lambda: keras.Model(x := one_hot_input(), spread()(x[:, -1])),
            r"operation 'get_item.*' \(GetItem\)",
        ),
        (Subclassed, "class Subclassed is not supported"),
        (lambda: textgen.LanguageModel(VOCABULARY, units=4), "class LanguageModel"),
        (lambda: "network.keras", "class str is not supported"),
    ],
)
def test_network_of_other_code_is_refused_by_name(network, said):
    with pytest.raises(ValueError, match=said):
        from_keras(network(), VOCABULARY)


def test_custom_class_named_like_one_of_keras_is_refused():
    class LSTM(layers.LSTM):
        pass

    with pytest.raises(ValueError, match=r"\(LSTM\) is not supported"):
        from_keras(stack(LSTM(4)), VOCABULARY)


def two_inputs():
    one, other = one_hot_input(), one_hot_input()
    return keras.Model([one, other], spread()(layers.Add()([one, other])))


def two_outputs():
    x = one_hot_input()
    return keras.Model(x, [spread()(x), spread()(x)])


@pytest.mark.parametrize(
    ("network", "arguments", "said"),
    [
        (
            lambda: keras.Sequential([layers.Embedding(V, 4), spread()]),
            {},
            "not built.*keras.Input",
        ),
        (two_inputs, {}, "has 2 inputs"),
        (two_outputs, {}, "has 2 outputs"),
        (bidirectional, {"input": "onehot"}, "input='onehot' must be"),
        (bidirectional, {"output": "logit"}, "output='logit' must be"),
        (bidirectional, {"input": "one_hot"}, r"\(None, 4\), .*does not fit one_hot"),
        (
            WINDOWED["one-hot, flat"],
            {"input": "ids"},
            r"\(None, 4, 6\), .*does not fit ids",
        ),
        (
            lambda: keras.Sequential([keras.Input((4, V + 1)), spread()]),
            {},
            r"\(None, 4, 7\).*\(batch, steps, 6\)",
        ),
        (
            lambda: keras.Sequential([keras.Input((V,)), spread()]),
            {},
            r"\(None, 6\) and dtype float32.*no Embedding",
        ),
        (
            lambda: keras.Sequential([ids_input(), layers.Embedding(V, 4)]),
            {},
            r"shape \(None, 4, 4\).*\(batch, 6\) or \(batch, steps, 6\)",
        ),
        (
            lambda: keras.Sequential(
                [ids_input(), layers.Embedding(V - 1, V, name="low"), spread()]
            ),
            {},
            "'low' .* has 5 ids.*has 6 symbols",
        ),
        (
            lambda: keras.Sequential(
                [ids_input(), textgen.OneHot(V - 1, name="low"), spread()]
            ),
            {},
            "'low' .* has 5 ids",
        ),
        (bidirectional, {"output": "logits"}, "'logits' contradicts .*'softmax'"),
        (
            lambda: bidirectional(activation=None),
            {"output": "probabilities"},
            "'probabilities' contradicts .*'linear'",
        ),
        (bidirectional, {"sequence_length": 5}, "=5 contradicts .*4 steps"),
        (residual_sequences, {"sequence_length": 0}, "=0 must be at least 1"),
        (bidirectional, {"padding": "x"}, "padding='x' must be one of the 6"),
        (WINDOWED["one-hot, flat"], {"padding": "a"}, "padding='a' is for networks"),
        (
            lambda: keras.Sequential(
                [
                    keras.Input(batch_shape=(1, 4), dtype="int32"),
                    layers.Embedding(V, 4),
                    layers.LSTM(4, stateful=True, name="it"),
                    spread(),
                ]
            ),
            {},
            r"'it' \(LSTM\) is stateful",
        ),
    ],
)
def test_what_does_not_fit_is_refused(network, arguments, said):
    with pytest.raises(ValueError, match=said):
        from_keras(network(), VOCABULARY, **arguments)


def test_vocabulary_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"must be a textgen\.Vocabulary"):
        from_keras(bidirectional(), "abcde\n")


def test_every_accepted_layer_is_one_of_keras():
    for name in networks.LAYERS:
        assert name == "Functional" or hasattr(layers, name) or hasattr(keras, name)


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
    compile(writer)
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
        made = compile(flat(), metrics=["accuracy"])
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
        return compile(stack(inner, start=[one_hot_input()], activation="softmax"))

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
