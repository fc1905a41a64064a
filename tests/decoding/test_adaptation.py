"""Dynamic evaluation, compared with a plain loop that is written from its definition.

Names of dimensions: T tokens of a text, V tokens of the vocabulary.
"""

import itertools

import keras
import numpy as np
import pytest
from small_models import VOCABULARY, make
from small_networks import of_windows

import textgen
from textgen import Adaptation

TEXT = "bad cafe\nface deaf fed\n"  # 23 tokens
LONG = "fade bad cafe\n" * 40
tensorflow_only = pytest.mark.tensorflow("GradientTape, which the definition uses")


def bits(variables):
    return [keras.ops.convert_to_numpy(each).tobytes() for each in variables]


def array(tensor):
    return keras.ops.convert_to_numpy(tensor).astype(float)


# === The definition ===


class Definition:
    """Scores with a tape of TensorFlow, and learns with NumPy.

    Args:
        model: Model that is not the tested one, with the same weights; it is changed.
    """

    def __init__(self, model):
        self.model = model
        self.weights = model_weights(model)
        self.first = [array(each) for each in self.weights]
        self.sums = [np.zeros_like(each) for each in self.first]
        self.count = 0

    def score(self, ids, learning_rate, decay, stretch):
        """Returns the log probability of each id after the first, `(T - 1,)`."""
        import tensorflow as tf

        found, carry = [np.zeros(0)], None
        for start in range(0, len(ids) - 1, stretch):
            inputs, targets = ids[start:-1][:stretch], ids[start + 1 :][:stretch]
            with tf.GradientTape() as tape:
                table, carry = read(self.model, inputs, carry)
                scores = tf.gather(table, targets, batch_dims=1)
                loss = -tf.reduce_mean(scores)
            found.append(np.array(scores))
            values = [weight.value for weight in self.weights]
            self.learn(tape.gradient(loss, values), learning_rate, decay)
        return np.concatenate(found)

    def learn(self, gradients, rate, decay):
        gradients = [array(keras.ops.convert_to_tensor(each)) for each in gradients]
        self.count += 1
        self.sums = [s + g**2 for s, g in zip(self.sums, gradients, strict=True)]
        roots = [np.sqrt(total / self.count) for total in self.sums]
        usual = np.concatenate([root.ravel() for root in roots]).mean()
        for weight, g, r, first in zip(
            self.weights, gradients, roots, self.first, strict=True
        ):
            old = array(weight)
            back = np.minimum(1, decay * r / usual) * (first - old)
            weight.assign(old - rate * g / (r + 0.001) + back)


def model_weights(model):
    models = getattr(model, "models", [model])
    return [weight for each in models for weight in each.trainable_weights]


def read(model, ids, carry):
    """Returns the log probabilities after each id, `(T, V)`, and the new carry."""
    import tensorflow as tf

    if isinstance(model, textgen.Blend):
        carry = carry or [None] * len(model.models)
        both = [read(*each) for each in zip(model.models, itertools.repeat(ids), carry)]
        shares = zip(model.weights, both, strict=True)
        mixed = tf.add_n([weight * tf.exp(table) for weight, (table, _) in shares])
        return tf.math.log(mixed), [carry for _, carry in both]
    if not getattr(model, "return_sequences", False):  # a window for each id
        length = model.reader.length
        ids = [*(carry or [-1] * length), *ids]
        windows = np.lib.stride_tricks.sliding_window_view(ids, length)[1:]
        return tf.nn.log_softmax(model(windows, training=False)), ids[-length:]
    x, states = model.input_layer(np.array([ids])), []
    carry = carry or [None] * len(model.recurrent_layers)
    for layer, state in zip(model.recurrent_layers, carry, strict=True):
        x, *state = layer(x, initial_state=state)
        states.append(state)
    return tf.nn.log_softmax(model.output_layer(x)[0]), states


ONE = {"units": (6,), "return_sequences": True}  # one layer: less to compile
MODELS = {
    "exact": lambda: make(**ONE, embedding=3, dtype="float64"),
    "start step": lambda: make(**ONE, start_step=True),
    "window": lambda: make(units=(6,)),
    "dropout": lambda: make(
        return_sequences=True, dropout=0.5, recurrent_dropout=0.4, weight_dropout=0.4
    ),
    "wrapped": lambda: of_windows(VOCABULARY, dropout=0.5),
    "blend": lambda: textgen.Blend([make(**ONE, seed=1), make(seed=2)], [0.3, 0.7]),
}
SETTINGS = {"learning_rate": 0.03, "decay": 0.2, "stretch": 7}
TEXTS = [TEXT, "cab\n", "", "face deaf\n"]


def by_definition(definition):
    """Returns the log probabilities of each text."""
    begins = definition.model.reader.begins_with_start
    ids = [[-1] * begins + VOCABULARY.encode(text).tolist() for text in TEXTS]
    return [definition.score(each, **SETTINGS) for each in ids]


@tensorflow_only
@pytest.mark.parametrize("kind", MODELS)
def test_scores_are_those_of_the_definition(kind, request):
    if kind not in ("exact", "start step", "window"):
        request.getfixturevalue("uncompiled")
    model = MODELS[kind]()
    expected = by_definition(Definition(MODELS[kind]()))
    log_probs = np.concatenate(expected)
    score = model.score(TEXTS, adapt=Adaptation(**SETTINGS))
    atol = 1e-6 if kind == "exact" else 1e-4
    np.testing.assert_allclose(score.log_probs, log_probs, atol=atol)
    assert score.adapted
    assert score.count == len(log_probs)
    assert score.nats == pytest.approx(-log_probs.mean(), abs=atol)
    means = [-each.mean() if len(each) else np.nan for each in expected]
    np.testing.assert_allclose(score.text_nats, means, atol=atol)
    # The test is one only if something was learned.
    assert np.abs(log_probs - model.score(TEXTS).log_probs)[7:].max() > 0.1


@tensorflow_only
def test_trainable_weights_are_kept_if_asked_for(uncompiled):
    model, other = make(**ONE, embedding=3), make(**ONE, embedding=3)
    for each in (model, other):
        each.input_layer.trainable = False
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    before = bits([*model.input_layer.weights, *model.optimizer.variables])
    score = model.score(TEXTS, adapt=Adaptation(**SETTINGS, keep=True))
    expected = by_definition(Definition(other))
    np.testing.assert_allclose(score.log_probs, np.concatenate(expected), atol=1e-4)
    for kept, weight in zip(model.weights, other.weights, strict=True):
        np.testing.assert_allclose(kept, weight, atol=1e-4)
    assert bits([*model.input_layer.weights, *model.optimizer.variables]) == before


def test_a_frozen_model_cannot_adapt():
    model = make()
    model.trainable = False
    with pytest.raises(ValueError, match=r"no trainable weights.* set trainable = T"):
        model.score(TEXT, adapt=True)


# === The model does not change ===


@pytest.fixture(scope="module")
def model():
    """One model for the tests that do not change it; it has carried states too."""
    model = make(**ONE, dropout=0.5, stateful=True, batch_size=4)
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.fixture
def unchanged(model):
    """Checks that no bit of the model has changed when the test ends."""
    before = bits([*model.variables, *model.optimizer.variables])
    yield
    assert bits([*model.variables, *model.optimizer.variables]) == before


@pytest.mark.usefixtures("unchanged")
def test_the_model_does_not_change(model):
    static = model.score(LONG).log_probs
    first = model.score(LONG, adapt=Adaptation(0.02)).log_probs
    np.testing.assert_array_equal(model.score(LONG).log_probs, static)
    # It kept nothing of the first time.
    again = model.score(LONG, adapt=Adaptation(0.02)).log_probs
    np.testing.assert_array_equal(again, first)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("keep", [False, True])
def test_the_model_does_not_change_on_an_error(model, monkeypatch, keep):
    message = r"diverged after \d+ tokens: use a learning rate below 1e\+38"
    with pytest.raises(ValueError, match=message):
        model.score(LONG, adapt=Adaptation(1e38, keep=keep))
    started = iter([model.reader.initial(1)])  # the second text has none
    monkeypatch.setattr(model.reader, "initial", lambda rows: next(started))
    with pytest.raises(StopIteration):
        model.score([LONG, LONG], adapt=Adaptation(keep=keep))


@pytest.mark.usefixtures("unchanged")
def test_infinite_weights_are_not_kept(model):
    # They come from the last stretch, so no score has shown them.
    with pytest.raises(ValueError, match="diverged after 20 tokens"):
        model.score(LONG[:21], adapt=Adaptation(1e39, keep=True))


# === What one sees ===


def test_text_that_repeats_itself_is_learned(model):
    static = model.score(LONG)
    adapted = model.score(LONG, adapt=textgen.Adaptation(0.02))
    # Nothing is learned before the end of the first stretch.
    np.testing.assert_allclose(adapted.log_probs[:20], static.log_probs[:20], atol=1e-5)
    assert adapted.nats < static.nats - 0.5
    assert (static.adapted, adapted.adapted) == (False, True)
    assert repr(adapted).startswith(f"Score(adapted, {adapted.nats:.4f} nats")
    assert "adapted" not in repr(static)
    # More decay leads further back.
    decay = model.score(LONG, adapt=textgen.Adaptation(0.02, decay=0.5)).nats
    assert adapted.nats < decay < static.nats


def test_true_means_the_defaults(model):
    default = Adaptation(learning_rate=0.002, decay=0.002, stretch=20, keep=False)
    assert Adaptation() == default
    np.testing.assert_array_equal(
        model.score(LONG, adapt=True).log_probs,
        model.score(LONG, adapt=default).log_probs,
    )
    assert not model.score(LONG, adapt=False).adapted


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("learning_rate", value) for value in (0, -1, np.inf, np.nan, "1", True)),
        *(("decay", value) for value in (-0.1, 1.1, np.nan, None)),
        *(("stretch", value) for value in (0, -1, 2.5, True, "20")),
    ],
)
def test_settings_are_checked(name, value):
    with pytest.raises(ValueError, match=rf"^{name}={value!r} must be .* such as"):
        Adaptation(**{name: value})


def test_adapt_is_checked(model):
    for value in ("yes", 1, 0.002, Adaptation):
        with pytest.raises(ValueError, match=r"^adapt=.* must be True, False or a t"):
            model.score(TEXT, adapt=value)


# === Memory ===


@tensorflow_only
def test_models_of_one_architecture_are_compiled_once_and_freed(monkeypatch):
    from tensorflow.python.framework import ops

    first, second = make(**ONE, seed=1), make(**ONE, seed=2)
    before = set(ops.gradient_registry.list())
    first.score(LONG, adapt=True)
    assert set(ops.gradient_registry.list()) <= before
    # Another model, other settings and another length: nothing is traced again.
    monkeypatch.setattr(second.reader, "read", None)
    score = second.score(TEXT, adapt=Adaptation(0.01, 0.1))
    monkeypatch.undo()
    static = second.score(TEXT).log_probs[:20]
    np.testing.assert_allclose(score.log_probs[:20], static, atol=1e-5)
