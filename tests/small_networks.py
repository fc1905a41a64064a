"""Small Keras networks, and their log probabilities."""

import keras
import numpy as np
from keras import layers, ops

import textgen
from textgen import Vocabulary

VOCABULARY = Vocabulary.from_text("abcde\n")  # the newline is id 0
V = len(VOCABULARY)
STEPS = 4
TEXT = "abcadee\nbc"


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


def of_windows(vocabulary, dropout=0.0):
    """A wrapped network on windows of 3 ids, faster than a recurrent one; seeded."""
    keras.utils.set_random_seed(0)
    stack = [keras.Input((3,), dtype="int32"), textgen.OneHot(len(vocabulary))]
    stack.append(layers.Flatten())
    if dropout:
        stack.append(layers.Dropout(dropout))
    stack.append(layers.Dense(len(vocabulary)))
    return textgen.from_keras(keras.Sequential(stack), vocabulary)


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

    They are those of Keras's layers, from the window or from the complete prefix; one
    call without a graph takes less time than to compile `predict`.
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
        outputs = network(as_input(network, rows), training=False)
    else:  # a stateful network with a fixed batch size
        outputs = []
        for row in rows:
            network.layers[1].reset_state()
            outputs.append(network(np.array([row] * batch), training=False)[0])
        outputs = ops.stack(outputs)
    outputs = ops.convert_to_numpy(outputs)
    if carries:
        outputs = np.array(
            [output[end - 1] for end, output in zip(ends, outputs, strict=True)]
        )
    outputs = outputs[:, -1] if outputs.ndim == 3 else outputs
    if np.all(outputs >= 0) and np.allclose(outputs.sum(axis=-1), 1):
        return np.log(outputs.astype(np.float64))
    return log_softmax(outputs)


def distribution(writer, text):
    """Log probabilities of the next token, from the loop of `generate`."""
    found = dict(writer.next_symbols(text, V))
    return np.log([found[symbol] for symbol in VOCABULARY.symbols])
