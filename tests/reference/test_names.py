"""The dinosaur notebooks in NumPy, number by number, on textgen's own Keras model.

A clips gradients at 5 and strips the lines; B, object-oriented, clips at 1 and keeps
the newlines. The published numbers are in docs/reproduction.md too.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import textgen

UNITS, SYMBOLS = 50, 27
NEWLINE = 0

LOSSES_A = {
    0: 23.087336,
    2000: 27.884160,
    4000: 25.901815,
    6000: 24.608779,
    8000: 24.070350,
    10000: 23.844446,
    12000: 23.291971,
}
# The training amplifies rounding: initial weights with another last digit move the loss
# by 1e-12 after 12,000 steps, 6e-9 after 13,000 and 9e-7 after 14,000.
ROUGH_LOSSES_A = {
    14000: 23.382339,
    16000: 23.259291,
    24000: 22.700408,
    34000: 22.477910,
}
NAMES_A = {
    0: "Nkzxwtdmfqoeyhsqwasjkjvu Kneb Kzxwtdmfqoeyhsqwasjkjvu Neb "
    "Zxwtdmfqoeyhsqwasjkjvu Eb Xwtdmfqoeyhsqwasjkjvu",
    2000: "Liusskeomnolxeros Hmdaairus Hytroligoraurus Lecalosapaus Xusicikoraurus "
    "Abalpsamantisaurus Tpraneronxeros",
    4000: "Mivrosaurus Inee Ivtroplisaurus Mbaaisaurus Wusichisaurus Cabaselachus "
    "Toraperlethosdarenitochusthiamamumamaon",
    6000: "Onwusceomosaurus Lieeaerosaurus Lxussaurus Oma Xusteonosaurus Eeahosaurus "
    "Toreonosaurus",
    8000: "Onxusichepriuon Kilabersaurus Lutrodon Omaaerosaurus Xutrcheps Edaksoje "
    "Trodiktonus",
    10000: "Onyusaurus Klecalosaurus Lustodon Ola Xusodonia Eeaeosaurus Troceosaurus",
    12000: "Onyxosaurus Kica Lustrepiosaurus Olaagrraiansaurus Yuspangosaurus "
    "Eealosaurus Trognesaurus",
}
LOSSES_B = {
    0: 23.087336,
    2000: 27.950466,
    4000: 25.894695,
    6000: 24.697856,
    8000: 24.231165,
    10000: 24.000355,
    12000: 23.363365,
    14000: 23.307418,
}
INDICES = [
    *(12, 17, 24, 14, 13, 9, 10, 22, 24, 6, 13, 11, 12, 6, 21, 15, 21, 14, 3, 2, 1, 21),
    *(18, 24, 7, 25, 6, 25, 18, 10, 16, 2, 3, 8, 15, 12, 11, 7, 1, 12, 10, 2, 7, 7, 11),
]
DETERMINED = 43


@pytest.fixture(autouse=True)
def _double_precision():
    """The learning rate of a Keras optimizer has the precision of floatx."""
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx("float32")


class RecordingSGD(keras.optimizers.SGD):
    """SGD that keeps the gradients it applies, by the names of the notebooks."""

    def update_step(self, gradient, variable, learning_rate):
        self.applied.append(keras.ops.convert_to_numpy(gradient))
        super().update_step(gradient, variable, learning_rate)


def make_model(weights, **kwargs):
    """A model with the weights of the notebook: Wax, Waa, Wya, b, by."""
    wax, waa, wya, b, by = weights
    vocabulary = textgen.Vocabulary("\nabcdefghijklmnopqrstuvwxyz")
    model = textgen.LanguageModel(
        vocabulary,
        cell="simple_rnn",
        units=len(waa),
        return_sequences=True,
        dtype="float64",
        **kwargs,
    )
    model.recurrent_layers[0].set_weights([wax.T, waa.T, b.ravel()])
    model.output_layer.set_weights([wya.T, by.ravel()])
    return model


def compile_summed(model, optimizer, **kwargs):
    loss = textgen.CrossEntropy(reduction="sum", dtype="float64")
    model.compile(optimizer, loss=loss, **kwargs)


def reseeding_rule(seed, indices=None):
    """The notebook's choice: the generator is seeded anew for every symbol."""

    def choose(logits, step):
        probabilities = np.exp(logits[0] - logits[0].max())
        np.random.seed(seed + 2 * step)
        chosen = np.random.choice(SYMBOLS, p=probabilities / probabilities.sum())
        if indices is not None:
            indices.append(int(chosen))
        return [chosen]

    return choose


def train(lines, clip_value, stops):
    """Trains as the notebooks do, with one line per step.

    The steps up to each stop are one compiled loop, since `train_on_batch` takes three
    times as long.

    Args:
        lines: list of `(inputs, targets)`, ids.
        clip_value: float. Limit of each component of the gradients.
        stops: Iterable of int. Steps, in ascending order.

    Yields:
        Step, model and smoothed loss after each of the stops.
    """
    np.random.seed(1)
    wax, waa, wya = (
        np.random.randn(*shape) * 0.01
        for shape in ((UNITS, SYMBOLS), (UNITS, UNITS), (SYMBOLS, UNITS))
    )
    model = make_model(
        (wax, waa, wya, np.zeros(UNITS), np.zeros(SYMBOLS)),
        stateful=True,
        batch_size=1,
        reset_policy="never",
    )
    compile_summed(model, keras.optimizers.SGD(0.01, clipvalue=clip_value))
    inputs, targets = (
        tf.constant(np.concatenate(each), tf.int32) for each in zip(*lines, strict=True)
    )
    ends = tf.math.cumsum([len(ids) for ids, _ in lines])
    starts = tf.concat([[0], ends[:-1]], 0)

    def one_step(step, smoothed):
        line = slice(starts[step % len(lines)], ends[step % len(lines)])
        model.reset_metrics()  # or the loss returned is a mean over all steps so far
        logs = model.train_step((inputs[tf.newaxis, line], targets[tf.newaxis, line]))
        return step + 1, 0.999 * smoothed + 0.001 * logs["loss"]

    @tf.function(autograph=False)
    def steps_until(end, step, smoothed):
        return tf.while_loop(lambda step, _: step < end, one_step, (step, smoothed))

    step, smoothed = tf.constant(0), tf.constant(-np.log(1 / SYMBOLS) * 7, tf.float64)
    for stop in stops:
        step, smoothed = steps_until(tf.constant(stop + 1), step, smoothed)
        yield stop, model, float(smoothed)


def shuffled(lines):
    np.random.seed(0)
    np.random.shuffle(lines)
    return lines


def test_clipping():
    np.random.seed(3)
    shapes = {"wax": (5, 3), "waa": (5, 5), "wya": (2, 5), "b": (5, 1), "by": (2, 1)}
    gradients = {name: np.random.randn(*shape) * 10 for name, shape in shapes.items()}
    variables = {
        name: keras.Variable(np.zeros(shape)) for name, shape in shapes.items()
    }
    optimizer = keras.optimizers.SGD(1.0, clipvalue=10)
    optimizer.apply(list(gradients.values()), list(variables.values()))
    applied = {
        name: -keras.ops.convert_to_numpy(value) for name, value in variables.items()
    }
    assert applied["waa"][1][2] == 10.0
    assert applied["wax"][3][1] == -10.0
    assert applied["wya"][1][2] == pytest.approx(0.2971381536101662, rel=1e-10)
    assert applied["b"][4] == 10
    assert applied["by"][1] == pytest.approx(8.45833407, abs=5e-9)


def test_one_optimisation_step():
    np.random.seed(1)
    units = 100
    a_prev = np.random.randn(units, 1)
    shapes = ((units, SYMBOLS), (units, units), (SYMBOLS, units), (units, 1))
    weights = [np.random.randn(*shape) for shape in (*shapes, (SYMBOLS, 1))]
    model = make_model(weights, stateful=True, batch_size=1, reset_policy="never")
    model.carried_states.write("training", [a_prev.T])
    optimizer = RecordingSGD(0.01, clipvalue=5)
    optimizer.applied = []
    compile_summed(model, optimizer, run_eagerly=True)
    loss = model.train_on_batch(
        np.array([[12, 3, 5, 11, 22, 3]]), np.array([[4, 14, 11, 22, 25, 26]])
    )
    wax, waa, b, wya, by = optimizer.applied
    assert float(loss) == pytest.approx(126.50397572165363, rel=1e-10)
    assert waa.T[1][2] == pytest.approx(0.19470931534719205, rel=1e-10)
    assert wax.T.argmax() == 93
    assert wya.T[1][2] == pytest.approx(-0.007773876032003275, rel=1e-10)
    assert b[4] == pytest.approx(-0.06809825, abs=5e-9)
    assert by[1] == pytest.approx(0.01538192, abs=5e-9)
    [last] = model.carried_states.read("training", 1)
    assert float(last[0, 4]) == pytest.approx(-1, abs=5e-9)


def test_sampling():
    np.random.seed(2)
    shapes = ((100, SYMBOLS), (100, 100), (SYMBOLS, 100), (100, 1), (SYMBOLS, 1))
    model = make_model([np.random.randn(*shape) for shape in shapes])
    indices = []
    model.generate("", len(INDICES), sampler=reseeding_rule(0, indices))
    # Weights this large are chaotic: an error of rounding doubles at each step, and
    # from the 44th index on the order of a sum decides. In 80-bit arithmetic that one
    # is 3 and not the published 7; docs/reproduction.md has the details.
    assert indices[:DETERMINED] == INDICES[:DETERMINED]


@pytest.mark.slow
def test_training_run_a(corpus_text):
    text = corpus_text("dinosaurs-reference", lowercase=True)
    vocabulary = textgen.Vocabulary.from_text(text)
    lines = [
        (np.append(-1, ids), np.append(ids, NEWLINE))
        for ids in map(
            vocabulary.encode, shuffled([line.strip() for line in text.splitlines()])
        )
    ]
    losses, names = {}, {}
    for step, model, loss in train(lines, 5, [*LOSSES_A, *ROUGH_LOSSES_A]):
        losses[step] = loss
        if step in NAMES_A:
            names[step] = " ".join(
                model.generate(
                    "", 50, sampler=reseeding_rule(seed), stop="\n"
                ).capitalize()
                for seed in range(7)
            )
    assert {step: f"{losses[step]:.6f}" for step in LOSSES_A} == {
        step: f"{loss:.6f}" for step, loss in LOSSES_A.items()
    }
    assert names == NAMES_A
    for step, loss in ROUGH_LOSSES_A.items():
        assert losses[step] == pytest.approx(loss, rel=0.02)


@pytest.mark.slow
def test_training_run_b(corpus_text):
    text = corpus_text("dinosaurs-reference", lowercase=True)
    vocabulary = textgen.Vocabulary.from_text(text)
    lines = [
        (np.append(-1, ids[:-1]), ids)
        for ids in map(vocabulary.encode, shuffled(text.splitlines(keepends=True)))
    ]
    losses = {step: loss for step, _, loss in train(lines, 1, LOSSES_B)}
    for step, published in LOSSES_B.items():
        # Exact through 12,000 where this was written; rounding parts machines later.
        if step <= 8000:
            assert f"{losses[step]:.6f}" == f"{published:.6f}"
        assert losses[step] == pytest.approx(published, rel=0.02)
