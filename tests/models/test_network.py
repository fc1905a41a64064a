"""Which networks can be wrapped, and what their input, output and padding are."""

import keras
import numpy as np
import pytest
from keras import layers
from small_networks import (
    STEPS,
    TEXT,
    VOCABULARY,
    WINDOWED,
    V,
    as_input,
    bidirectional,
    by_definition,
    distribution,
    ids_input,
    log_softmax,
    one_hot_input,
    residual_sequences,
    spread,
    stack,
)

import textgen
from textgen import Vocabulary
from textgen.models import network as networks
from textgen.models.keras_writer import from_keras

pytestmark = pytest.mark.usefixtures("seed")


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


def test_every_accepted_layer_is_one_of_keras():
    for name in networks.LAYERS:
        assert name == "Functional" or hasattr(layers, name) or hasattr(keras, name)
