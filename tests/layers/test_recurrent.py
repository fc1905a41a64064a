"""SimpleRNN, GRU and LSTM compared with those of Keras, with the same weights."""

import functools
import itertools
import json
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from textgen import backend, tracing
from textgen.layers import inputs, recurrence, recurrent

TENSORFLOW = keras.backend.backend() == "tensorflow"
if TENSORFLOW:
    import tensorflow as tf
# Each mark says what exists in TensorFlow only.
has_graphs = pytest.mark.tensorflow(
    "graphs: with XLA and without, of unknown shapes, with loops of their own"
)
has_mixed_gru = pytest.mark.tensorflow(
    "a GRU of Keras in mixed precision, the reference"
)
has_devices = pytest.mark.tensorflow("the functions that list its devices")

NAMES = ["SimpleRNN", "GRU", "LSTM"]
WIDTH, UNITS, STEPS, SIZE = 3, 4, 6, 5
IDS = np.array([[0, 4, -1, 2], [2, -1, -1, 4], [1, 1, 1, 1]])[:, :, None]
FALLBACKS = [
    ("SimpleRNN", {"activation": "relu"}, "activation is not tanh"),
    ("GRU", {"activation": "sigmoid"}, "activation is not tanh"),
    ("LSTM", {"activation": None}, "activation is not tanh"),
    ("GRU", {"recurrent_activation": "tanh"}, "recurrent_activation is not sigmoid"),
    (
        "LSTM",
        {"recurrent_activation": recurrent.keras2_hard_sigmoid},
        "recurrent_activation is not sigmoid",
    ),
    ("GRU", {"reset_after": False}, "reset_after=False"),
    *[
        (name, options, reason)
        for name in NAMES
        for options, reason in [
            ({"recurrent_dropout": 0.4, "seed": 1}, "recurrent_dropout=0.4"),
            ({"use_bias": False}, "use_bias=False"),
            ({"unroll": True}, "unroll=True"),
        ]
    ],
]
each_layer = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    """Sets the number of cores to 2; returns a function that sets another number."""
    if backend.accelerator():
        pytest.skip("the fast path does not run on a GPU")

    def set_cores(number):
        if TENSORFLOW:
            monkeypatch.setattr(
                tf.config.threading, "get_inter_op_parallelism_threads", lambda: number
            )

    set_cores(2)
    return set_cores


@pytest.fixture
def calls(monkeypatch):
    """Records the number of rows, or `None`, of each call of the fast path."""
    rows, recur = [], recurrence.recur

    def recording(cell, z, weights, states):
        rows.append(z.shape[1])
        return recur(cell, z, weights, states)

    monkeypatch.setattr(recurrence, "recur", recording)
    return rows


def pair(name, width=WIDTH, rows=None, steps=None, **options):
    """Returns a layer of textgen and one of Keras, with the same weights."""
    options = {"return_sequences": True, "return_state": True, **options}
    made = []
    for module in (recurrent, keras.layers):
        layer = getattr(module, name)(UNITS, **options)
        layer.build((rows, steps, width))
        set_random(layer.trainable_weights)
        made.append(layer)
    return made


def set_random(weights):
    numbers = np.random.default_rng(0)
    for weight in weights:
        weight.assign(numbers.normal(size=weight.shape) * 0.7)


def inputs_of(name, rows, steps=STEPS, dtype="float32"):
    """Returns sequences and initial states."""
    dtype = keras.DTypePolicy(dtype).variable_dtype
    numbers = np.random.default_rng(100 * rows + steps)
    shapes = [(rows, steps, WIDTH)] + [(rows, UNITS)] * (2 if name == "LSTM" else 1)
    x, *states = [numbers.normal(size=shape).astype(dtype) for shape in shapes]
    return x, states


def one_hot(ids, dtype="float32"):
    """Returns the one-hot rows of ids `(N, T, 1)`; the row of -1 is zero."""
    return (ids == np.arange(SIZE)).astype(dtype)


def runner(layer, how, x, states=(), **kwargs):
    """Returns a function of `(x, *states)` that computes results and gradients.

    The gradients are those of the inputs (unless these are ids), the states and the
    weights.

    Args:
        layer: A recurrent layer.
        how: "eager", "graph" or "xla". With "-any-rows", "graph" and "xla" are traced
            for an unknown batch size; with "-any-shape", also for unknown steps.
        x: Sequences; `x` and `states` define the shapes and dtypes.
        states: Initial states.
        **kwargs: Arguments of the layer's call.
    """
    if not TENSORFLOW:
        return jax_runner(layer, how, **kwargs)

    def run(x, *states):
        sources = [x, *states] if x.dtype.is_floating else [*states]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            results = layer(x, initial_state=list(states) or None, **kwargs)
            results = keras.tree.flatten(results)
        sources += [weight.value for weight in layer.trainable_weights]
        upstream = []
        for index, y in enumerate(results):
            numbers = tf.cos(tf.cast(tf.range(tf.size(y)) + 7 * index, tf.float64))
            upstream.append(tf.cast(tf.reshape(numbers, tf.shape(y)), y.dtype))
        return results, tape.gradient(results, sources, output_gradients=upstream)

    if how != "eager":
        signature = []
        for array in (x, *states):
            shape = list(array.shape)
            if "-any-" in how:
                shape[0] = None
            if how.endswith("shape") and len(shape) == 3:
                shape[1] = None
            signature.append(tf.TensorSpec(shape, array.dtype))
        jit = how.startswith("xla")
        run = tf.function(run, signature, autograph=False, jit_compile=jit)

    def arrays(x, *states):
        results, gradients = run(*[tf.constant(array) for array in (x, *states)])
        return SimpleNamespace(
            dtypes=[y.dtype for y in results],
            results=[tf.cast(y, tf.float64).numpy() for y in results],
            gradients=[tf.convert_to_tensor(g).numpy() for g in gradients],
        )

    return arrays


def jax_runner(layer, how, **kwargs):
    """Does the same as `runner` with JAX, which compiles everything but "eager"."""
    import jax

    def run(weights, others, x, *states):
        def weighted(sources):
            inputs, states, weights = sources
            results, after = layer.stateless_call(
                weights,
                others,
                x if inputs is None else inputs,
                initial_state=states or None,
                **kwargs,
            )
            results, total = keras.tree.flatten(results), 0
            for index, y in enumerate(results):
                factors = np.cos(np.arange(y.size) + 7.0 * index).reshape(y.shape)
                total += (y * ops.convert_to_tensor(factors, y.dtype)).sum()
            return total, (results, after)

        ids = keras.backend.is_int_dtype(x.dtype)
        sources = (None if ids else x, list(states), weights)
        gradients, found = jax.grad(weighted, has_aux=True)(sources)
        return *found, jax.tree.leaves(gradients)  # none for ids

    if how != "eager":
        run = jax.jit(run)

    def arrays(x, *states):
        variables = layer.trainable_variables, layer.non_trainable_variables
        values = [[each.value for each in part] for part in variables]
        inputs = [ops.convert_to_tensor(array) for array in (x, *states)]
        results, after, gradients = run(*values, *inputs)
        for variable, value in zip(variables[1], after, strict=True):
            variable.assign(value)
        return SimpleNamespace(
            dtypes=[y.dtype for y in results],
            results=[np.asarray(y, "float64") for y in results],
            gradients=[np.asarray(gradient) for gradient in gradients],
        )

    return arrays


USUAL = "eager" if TENSORFLOW else "graph"  # JAX compiles each operation of its own


def compute(layer, x, states=(), how=USUAL, **kwargs):
    """Calls the function that `runner` returns."""
    return runner(layer, how, x, states, **kwargs)(x, *states)


def assert_same(actual, expected, atol=1e-5, rtol=1e-4):
    """Compares results absolutely, and gradients relative to the largest value."""
    assert actual.dtypes == expected.dtypes
    for ours, theirs in zip(actual.results, expected.results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)
    for ours, theirs in zip(actual.gradients, expected.gradients, strict=True):
        atol = rtol * np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


@functools.cache
def by_keras(name, rows, steps=STEPS, dtype="float32"):
    _, stock = pair(name, dtype=dtype)
    return compute(stock, *inputs_of(name, rows, steps, dtype))


# === Results and gradients ===


@each_layer
@pytest.mark.parametrize(
    ("how", "rows", "times"),
    [
        ("eager", 1, 1),
        ("eager", 33, 1),
        ("graph", 5, 1),
        ("graph", 64, 2),
        pytest.param("xla", 5, 1, marks=has_graphs),
    ],
)
def test_results_and_gradients_are_those_of_keras(name, how, rows, times, calls):
    layer, _ = pair(name)
    assert_same(compute(layer, *inputs_of(name, rows), how), by_keras(name, rows))
    assert len(calls) == (times if TENSORFLOW else 1)  # parts of the batch


@has_graphs
@pytest.mark.parametrize(
    ("name", "how", "shapes"),
    [
        # The first part of the batch has all rows; the other parts are empty.
        ("SimpleRNN", "graph-any-rows", [(1, STEPS), (5, STEPS)]),
        *[(name, "graph-any-rows", [(33, STEPS)]) for name in NAMES],
        *[
            (name, "graph-any-shape", [(1, 1), (33, STEPS), (64, STEPS)])
            for name in NAMES
        ],
    ],
)
def test_batches_of_unknown_size(name, how, shapes, calls):
    layer, _ = pair(name)
    run = runner(layer, how, *inputs_of(name, 1))
    for shape in shapes:
        x, states = inputs_of(name, *shape)
        assert_same(run(x, *states), by_keras(name, *shape))
    # A compiled loop may have empty parts.
    assert calls == [None] * (4 if how == "graph-any-rows" else 2)


@has_graphs
@pytest.mark.parametrize(
    ("how", "dtype", "times"),
    [
        ("graph", "float32", 1),
        ("graph-any-rows", "float32", 4),
        ("graph", "mixed_bfloat16", 0),
        ("graph-any-shape", "float32", 0),
        ("eager", "float32", 0),
    ],
)
def test_loops_of_full_precision_and_known_length_are_compiled(
    how, dtype, times, monkeypatch
):
    compiled = []
    monkeypatch.setattr(
        tracing,
        "run_compiled",
        lambda function, *args: compiled.append(function) or function(*args),
    )
    layer, _ = pair("SimpleRNN", dtype=dtype)
    compute(layer, *inputs_of("SimpleRNN", 5, dtype=dtype), how)
    cell = recurrence.SIMPLE_RNN
    assert compiled == [cell.forward] * times + [cell.backward] * times


@has_graphs
@each_layer
def test_loops_of_every_layer_of_a_stack_are_compiled(name):
    stack = keras.Sequential(
        [getattr(recurrent, name)(UNITS, return_sequences=True) for _ in range(3)]
    )
    stack.build((None, STEPS, WIDTH))

    @tf.function(input_signature=[tf.TensorSpec((None, STEPS, WIDTH))], autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(stack(x))
        return tape.gradient(total, stack.trainable_weights)

    graph = gradient.get_concrete_function().graph
    loops = [
        operation
        for operation in graph.get_operations()
        if operation.type in ("While", "StatelessWhile")
    ]
    assert loops == []  # all loops are inside functions compiled by XLA


@each_layer
@pytest.mark.parametrize("how", ["eager", "xla"])
def test_one_step(name, how):
    layer, _ = pair(name)
    actual = compute(layer, *inputs_of(name, 5, steps=1), how)
    assert_same(actual, by_keras(name, 5, steps=1))


@pytest.mark.tensorflow("float64")
@each_layer
@pytest.mark.parametrize("how", ["eager", "graph"])
def test_double_precision(name, how):
    layer, _ = pair(name, dtype="float64")
    actual = compute(layer, *inputs_of(name, 5, dtype="float64"), how)
    assert layer.path() == ("keras", "float64 is for exact comparisons")
    expected = by_keras(name, 5, dtype="float64")
    assert_same(actual, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *[("SimpleRNN", "eager"), ("LSTM", "eager"), ("SimpleRNN", "xla")],
        pytest.param("GRU", "eager", marks=has_mixed_gru),
        *[pytest.param(name, "graph-any-rows", marks=has_graphs) for name in NAMES],
    ],
)
def test_mixed_precision_is_no_less_exact_than_in_keras(name, how, calls):
    # With so many rows, the ratio of two errors varies by a few percent only.
    rows = 1000
    layer, _ = pair(name, dtype="mixed_bfloat16")
    actual = compute(layer, *inputs_of(name, rows), how)
    exact, theirs = by_keras(name, rows), by_keras(name, rows, dtype="mixed_bfloat16")
    assert actual.dtypes == theirs.dtypes
    assert calls

    def errors(of, part=slice(None)):
        """Returns the error of each result and gradient, relative to its size."""
        return np.array(
            [
                np.sqrt(np.mean((y - expected) ** 2) / np.mean(expected**2))
                for y, expected in zip(
                    (of.results + of.gradients)[part],
                    (exact.results + exact.gradients)[part],
                    strict=True,
                )
            ]
        )

    # Results and the gradients of inputs and states have values for every row. In a
    # step, textgen rounds the operands and the products of the input and the state:
    # four roundings at most. Independent errors add up as their squares. Keras rounds
    # all other values too. In a cell with gates, these are at least two more, the gate
    # and the new state, even if the framework fuses operations. In a SimpleRNN, the
    # framework can fuse everything, so that Keras may round the operands only.
    least = 2 if name == "SimpleRNN" else 6
    of_rows = slice(2 * len(actual.results))
    ratios = errors(actual, of_rows) / errors(theirs, of_rows)
    assert max(ratios) < np.sqrt(4 / least)
    # The gradients of the weights are few numbers, too few for a ratio. This limit is
    # the error of two passes over the steps with four roundings each, if none cancel.
    assert max(errors(actual)) < 2 * STEPS * 4 * 2.0**-8


# === Vectors that the layer looks up ===


class ReadingVectors(keras.layers.Layer):
    """A layer that reads the rows of a table; it can look them up."""

    def __init__(self, layer, looking_up):
        super().__init__()
        self.layer = layer
        self.looking_up = looking_up
        self.table = self.add_weight(shape=(SIZE, WIDTH))
        numbers = np.random.default_rng(1)
        self.table.assign(numbers.normal(size=(SIZE, WIDTH)))
        self.built = True

    def call(self, ids, initial_state=None):
        if self.looking_up:
            with self.layer.reading_vectors(self.table):
                return self.layer(ids)
        rows = ops.cast(ops.equal(ids, np.arange(SIZE)), "float32")
        return self.layer(ops.matmul(rows, self.table))


@each_layer
@pytest.mark.parametrize(
    "how", ["eager", "graph", pytest.param("xla", marks=has_graphs)]
)
def test_vectors_of_ids_are_those_of_an_embedding(name, how, calls):
    layer, stock = pair(name)
    kernel = layer.cell.kernel
    actual = compute(ReadingVectors(layer, True), IDS, how=how)
    assert_same(actual, compute(ReadingVectors(stock, False), IDS))
    assert len(actual.gradients) == 1 + len(layer.trainable_weights)
    assert len(calls) == 1
    assert layer.cell.kernel is kernel


def test_vectors_are_looked_up_where_that_is_less_work():
    layer, _ = pair("LSTM")
    assert layer.reads_vectors(2 * WIDTH, WIDTH)
    assert not layer.reads_vectors(2 * WIDTH + 1, WIDTH)
    assert not layer.reads_vectors(1, WIDTH)
    for options in ({"dtype": "mixed_bfloat16"}, {"unroll": True}):
        assert not pair("LSTM", **options)[0].reads_vectors(2, WIDTH)


# === Options ===


@each_layer
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("return_state", [False, True])
def test_returned_values(name, return_sequences, return_state, calls):
    layer, stock = pair(
        name, return_sequences=return_sequences, return_state=return_state
    )
    x, states = inputs_of(name, 5)
    actual = compute(layer, x, states, "graph")
    assert_same(actual, compute(stock, x, states))
    assert len(actual.results) == 1 + return_state * len(states)
    assert calls == [5]


@each_layer
def test_states_are_zero_unless_given(name, calls):
    layer, stock = pair(name)
    x, _ = inputs_of(name, 5)
    assert_same(compute(layer, x), compute(stock, x))
    assert calls == [5]


@each_layer
@pytest.mark.parametrize("how", ["eager", "graph"])
def test_backwards(name, how, calls):
    layer, stock = pair(name, go_backwards=True)
    x, states = inputs_of(name, 5)
    assert_same(compute(layer, x, states, how), compute(stock, x, states))
    assert calls


@each_layer
@pytest.mark.parametrize("how", ["eager", "graph"])
def test_stateful(name, how, calls):
    layer, stock = pair(name, rows=5, stateful=True)
    x = inputs_of(name, 5, steps=3 * STEPS)[0]
    for start in range(0, 3 * STEPS, STEPS):
        part = x[:, start : start + STEPS]
        assert_same(compute(layer, part, how=how), compute(stock, part))
    assert len(calls) == 3
    for ours, theirs in zip(layer.states, stock.states, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    layer.reset_state()
    fresh, _ = pair(name)
    assert_same(compute(layer, part), compute(fresh, part), atol=0, rtol=1e-6)


@each_layer
@pytest.mark.parametrize("how", ["eager", "graph"])
def test_dropout_of_a_seed_equals_keras(name, how, calls):
    layer, stock = pair(name, dropout=0.4, seed=1)
    x, states = inputs_of(name, 5)
    run = runner(layer, how, x, states, training=True)
    first, second = run(x, *states), run(x, *states)
    assert_same(first, compute(stock, x, states, training=True))
    assert_same(second, compute(stock, x, states, training=True))
    assert np.abs(first.results[0] - second.results[0]).max() > 0.1
    assert calls


@each_layer
def test_dropout_in_training_only(name, calls):
    layer, _ = pair(name, dropout=0.4, seed=1)
    actual = compute(layer, *inputs_of(name, 5), training=False)
    assert_same(actual, by_keras(name, 5))
    assert calls == [5]


@pytest.mark.parametrize("name", ["GRU", "LSTM"])
def test_dropout_of_each_gate(name):
    options = {"implementation": 1, "use_cudnn": False}  # Keras fails with "auto"
    layer, stock = pair(name, dropout=0.4, seed=1, **options)
    x, states = inputs_of(name, 5)
    actual = compute(layer, x, states, training=True)
    assert_same(actual, compute(stock, x, states, training=True))


@each_layer
def test_both_directions(name, calls):
    layer, stock = pair(name, return_state=False)
    both = [keras.layers.Bidirectional(one) for one in (layer, stock)]
    x, _ = inputs_of(name, 5)
    for wrapper in both:
        wrapper.build(x.shape)
        set_random(wrapper.trainable_weights)
    assert_same(*[compute(wrapper, x) for wrapper in both])
    assert calls == [5, 5]


# === Which path ===


@each_layer
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation": keras.activations.tanh},
        {"dropout": 0.3},
        {"go_backwards": True},
        {"stateful": True},
        {"dtype": "mixed_bfloat16"},
    ],
)
def test_fast_path(name, options):
    layer = getattr(recurrent, name)(UNITS, **options)
    assert layer.path() == ("time-batched", "on a CPU")


@pytest.mark.parametrize(("name", "options", "reason"), FALLBACKS)
def test_unsupported_options_use_the_loop_of_keras(name, options, reason, calls):
    layer, stock = pair(name, steps=STEPS, **options)
    assert layer.path() == ("keras", reason)
    x, states = inputs_of(name, 5)
    actual = compute(layer, x, states, training=True)
    assert_same(actual, compute(stock, x, states, training=True))
    assert calls == []


@each_layer
def test_masked_sequences_use_the_loop_of_keras(name, calls):
    layer, stock = pair(name)
    x, states = inputs_of(name, 5)
    mask = np.arange(STEPS) < np.array([[6], [3], [1], [0], [5]])
    assert layer.path(mask) == ("keras", "the sequences are masked")
    actual = compute(layer, x, states, mask=mask)
    assert_same(actual, compute(stock, x, states, mask=mask))
    x[~mask] = 9.0
    masked = keras.layers.Masking(9.0)(x)
    for ours, theirs in zip(layer(masked), stock(masked), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert calls == []


def test_no_accelerator():
    assert backend.accelerator() is None


@has_devices
@pytest.mark.parametrize(
    ("details", "name"), [({"device_name": "NVIDIA X1"}, "NVIDIA X1"), ({}, "GPU")]
)
def test_gpu_of_tensorflow(details, name, monkeypatch, calls):
    for kind in ("physical", "logical"):
        monkeypatch.setattr(
            tf.config, f"list_{kind}_devices", lambda kind: ["GPU:0"] * (kind == "GPU")
        )
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda device: details
    )
    assert backend.accelerator() == name
    assert recurrent.GRU(UNITS).path() == ("keras", f"on {name}")


@has_devices
def test_gpu_that_is_hidden_from_tensorflow(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [])
    assert backend.accelerator() is None


@pytest.mark.parametrize(
    ("platform", "name", "path"),
    [
        ("cpu", None, ("time-batched", "on a CPU")),
        ("tpu", "TPU v4", ("keras", "on TPU v4")),
    ],
)
def test_devices_of_jax(platform, name, path, monkeypatch):
    layer = recurrent.LSTM(UNITS)
    device = SimpleNamespace(platform=platform, device_kind="TPU v4")
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(devices=lambda: [device]))
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert backend.accelerator() == name
    assert layer.path() == path


@pytest.mark.parametrize(
    ("available", "name", "reason"),
    [(True, "NVIDIA X1", "on NVIDIA X1"), (False, None, "on the backend torch")],
)
def test_devices_of_torch(available, name, reason, monkeypatch):
    layer = recurrent.LSTM(UNITS)
    cuda = SimpleNamespace(
        is_available=lambda: available, get_device_name=lambda: "NVIDIA X1"
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert backend.accelerator() == name
    assert layer.path() == ("keras", reason)


# === Ids ===


@pytest.mark.parametrize(
    ("name", "how", "largest"),
    [
        *itertools.product(NAMES, ["eager"], [SIZE - 1, SIZE]),
        ("GRU", "graph-any-shape", SIZE),
        ("SimpleRNN", "xla-any-shape", SIZE - 1),
    ],
)
def test_ids_are_one_hot_rows(name, how, largest, calls, monkeypatch):
    monkeypatch.setattr(inputs, "_LARGEST_PRODUCT", largest)
    layer, stock = pair(name, SIZE)
    _, states = inputs_of(name, len(IDS))
    actual = compute(layer, IDS, states, how)
    expected = compute(stock, one_hot(IDS), states)
    del expected.gradients[0]  # the gradient of the rows
    assert_same(actual, expected)
    assert calls


@each_layer
@pytest.mark.parametrize("how", ["eager", "graph-any-shape"])
def test_ids_where_keras_computes(name, how, calls):
    layer, stock = pair(name, SIZE, activation="relu")
    _, states = inputs_of(name, len(IDS))
    actual = compute(layer, IDS, states, how)
    expected = compute(stock, one_hot(IDS), states)
    del expected.gradients[0]
    assert_same(actual, expected)
    assert calls == []


@each_layer
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int64"])
def test_ids_of_any_integers(name, dtype):
    layer, stock = pair(name, SIZE)
    ids = np.maximum(IDS, 0) if dtype == "uint8" else IDS
    results = keras.tree.flatten(layer(ids.astype(dtype)))
    expected = keras.tree.flatten(stock(one_hot(ids)))
    for ours, theirs in zip(results, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@each_layer
@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "float64"])
def test_rows_of_any_dtype(name, dtype, calls):
    layer, stock = pair(name, SIZE)
    rows = one_hot(IDS, dtype)
    for ours, theirs in zip(layer(rows), stock(rows), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert calls == [len(IDS)]


@each_layer
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"use_bias": False}, {"recurrent_dropout": 0.3}, {"go_backwards": True}],
)
def test_ids_with_dropout(name, training, options):
    layer, stock = pair(name, SIZE, dropout=0.4, seed=1, **options)
    actual = compute(layer, IDS, training=training)
    expected = compute(stock, one_hot(IDS), training=training)
    del expected.gradients[0]
    assert_same(actual, expected)


@each_layer
def test_masked_ids(name, calls):
    layer, stock = pair(name, SIZE)
    mask = IDS[:, :, 0] >= 0
    actual = compute(layer, IDS, mask=mask)
    expected = compute(stock, one_hot(IDS), mask=mask)
    del expected.gradients[0]
    assert_same(actual, expected)
    assert calls == []


@pytest.mark.parametrize(
    "name", ["SimpleRNN", pytest.param("GRU", marks=has_mixed_gru), "LSTM"]
)
def test_ids_in_mixed_precision(name, calls):
    layer, stock = pair(name, SIZE, dtype="mixed_bfloat16")
    actual, expected = compute(layer, IDS), compute(stock, one_hot(IDS))
    del expected.gradients[0]
    # Two passes over the steps, each with four roundings of operands and products.
    most = IDS.shape[1] * 4 * 2.0**-8
    assert_same(actual, expected, atol=most, rtol=2 * most)
    assert calls == [len(IDS)]


@pytest.mark.parametrize("largest", [SIZE - 1, SIZE])
@pytest.mark.parametrize("shape", [(12,), (3, 4), (3, 2, 2)])
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64"])
def test_lookup(largest, shape, dtype, monkeypatch):
    monkeypatch.setattr(inputs, "_LARGEST_PRODUCT", largest)
    numbers = np.random.default_rng(0)
    kernel = numbers.normal(size=(SIZE, 2)).astype("float32")
    upstream = numbers.normal(size=(*shape, 2)).astype("float32")
    ids = IDS.reshape(shape).astype(dtype)

    def look_up(kernel):
        return inputs.lookup(ops.convert_to_tensor(ids), kernel)

    if TENSORFLOW:
        kernel = tf.constant(kernel)
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            rows = look_up(kernel)
        gradient = tape.gradient(rows, kernel, output_gradients=tf.constant(upstream))
    else:
        import jax

        rows, differentiate = jax.vjp(look_up, kernel)
        [gradient] = differentiate(upstream)
    matrix = one_hot(ids[..., None])
    np.testing.assert_array_equal(rows, matrix @ np.asarray(kernel))
    expected = np.tensordot(matrix, upstream, axes=(range(len(shape)),) * 2)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=3e-6)


# === Parts of a batch ===


@has_graphs
@pytest.mark.parametrize(
    ("number", "rows", "sizes"),
    [
        (1, 64, [64]),
        (2, 1, [1]),
        (2, 31, [31]),
        (2, 32, [16, 16]),
        (2, 33, [17, 16]),
        (4, 33, [17, 16]),
        (4, 50, [17, 17, 16]),
        (4, 64, [16, 16, 16, 16]),
        (2, 95, [48, 47]),
        (2, 128, [32, 32, 32, 32]),
        (1, 128, [128]),
        (4, 130, [33, 33, 32, 32]),
    ],
)
def test_parts_of_a_batch(number, rows, sizes, cores):
    cores(number)
    tensors = [np.arange(2 * rows).reshape(rows, 2), np.arange(rows)]
    parts = tf.function(backend.split_batch, autograph=False)(
        [ops.convert_to_tensor(tensor) for tensor in tensors], spare=True
    )
    assert [[len(tensor) for tensor in part] for part in parts] == [
        [n, n] for n in sizes
    ]
    for whole, pieces in zip(tensors, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces), whole)


@has_graphs
def test_parts_of_a_batch_of_unknown_size(cores):
    cores(3)
    parts = tf.function(
        lambda tensors: backend.split_batch(tensors, spare=True),
        [[tf.TensorSpec([None])]],
        autograph=False,
    )
    for rows, sizes in {
        1: [1, 0, 0, 0, 0, 0],
        16: [16, 0, 0, 0, 0, 0],
        17: [17, 0, 0, 0, 0, 0],
        50: [17, 17, 16, 0, 0, 0],
        64: [22, 21, 21, 0, 0, 0],
        200: [34, 34, 33, 33, 33, 33],
        800: [134, 134, 133, 133, 133, 133],
    }.items():
        pieces = [part for [part] in parts([tf.range(rows, dtype="float32")])]
        assert [len(piece) for piece in pieces] == sizes
        np.testing.assert_array_equal(np.concatenate(pieces), np.arange(rows))


@has_graphs
@pytest.mark.parametrize(("number", "machine", "parts"), [(0, 3, 3), (99, 2, 16)])
@pytest.mark.parametrize("rows", [999, None])
@pytest.mark.parametrize("spare", [True, False])
def test_parts_by_cores(number, machine, parts, rows, spare, cores, monkeypatch):
    cores(number)  # in TensorFlow, 0 means all cores of the machine
    monkeypatch.setattr(backend, "available_cores", lambda: machine)
    graph = tf.Graph()
    with graph.as_default():
        batch = tf.compat.v1.placeholder("float32", (rows, 1))
        if spare:  # two for each core, or parts of about 32 rows
            parts = min(16, 2 * parts if rows is None else 15 * parts)
        assert len(backend.split_batch([batch], spare)) == parts


@has_graphs
def test_one_core_for_a_batch_of_unknown_size(cores, calls):
    cores(1)
    layer, _ = pair("SimpleRNN")
    actual = compute(layer, *inputs_of("SimpleRNN", 33), "graph-any-shape")
    assert_same(actual, by_keras("SimpleRNN", 33))
    assert calls == [None]


# === Configuration, files and training ===


@each_layer
@pytest.mark.parametrize(
    "options",
    [
        {},
        {
            "activation": "relu",
            "dropout": 0.2,
            "recurrent_dropout": 0.3,
            "return_sequences": True,
            "go_backwards": True,
            "dtype": "mixed_bfloat16",
            "seed": 3,
        },
    ],
)
def test_config_round_trip(name, options):
    layer = getattr(recurrent, name)(UNITS, name="layer", **options)
    stock = getattr(keras.layers, name)(UNITS, name="layer", **options)
    config = layer.get_config()
    assert json.dumps(config) == json.dumps(stock.get_config())
    assert type(layer).from_config(config).get_config() == config
    assert type(stock).from_config(config).get_config() == config
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert config["registered_name"] == f"textgen>{name}"
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(layer)
    assert keras.saving.serialize_keras_object(copy) == config


def stack(module):
    """Returns a model of all three recurrent layers, always with the same weights."""
    model = keras.Sequential(
        [
            keras.Input((None, WIDTH)),
            module.SimpleRNN(UNITS, return_sequences=True),
            module.GRU(UNITS, return_sequences=True, go_backwards=True),
            module.LSTM(UNITS),
            keras.layers.Dense(1),
        ]
    )
    set_random(model.trainable_weights)
    return model


def test_model_of_a_file(tmp_path, calls):
    model = stack(recurrent)
    x, _ = inputs_of("GRU", 5)
    expected = model(x)
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    assert [type(layer) for layer in copy.layers] == [
        type(layer) for layer in model.layers
    ]
    calls.clear()
    np.testing.assert_array_equal(copy(x), expected)
    assert len(calls) == 3


def test_weights_are_those_of_keras(tmp_path):
    ours, stock = stack(recurrent), stack(keras.layers)
    assert [(w.name, w.shape) for w in ours.weights] == [
        (w.name, w.shape) for w in stock.weights
    ]
    x, _ = inputs_of("GRU", 5)
    file = tmp_path / "a.weights.h5"
    for source, target in [(ours, stock), (stock, ours)]:
        for weight in source.weights:
            weight.assign(weight * 0.9)
        source.save_weights(file)
        target.load_weights(file)
        for a, b in zip(source.get_weights(), target.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(target(x), source(x), atol=1e-5)


def losses(module, **options):
    model = stack(module)
    x, _ = inputs_of("GRU", 10)
    y = x.mean(axis=1)[:, :1]
    model.compile(keras.optimizers.Adam(0.05), "mse", **options)
    history = model.fit(x, y, batch_size=5, epochs=6, shuffle=False, verbose=0)
    return history.history["loss"]


@functools.cache
def losses_by_keras():
    return losses(keras.layers, run_eagerly=TENSORFLOW)  # on JAX it takes a minute


@pytest.mark.parametrize("jit_compile", [pytest.param(False, marks=has_graphs), True])
def test_training_equals_keras(jit_compile, calls):
    actual = losses(recurrent, jit_compile=jit_compile)
    assert calls
    assert actual[-1] < 0.3 * actual[0]
    np.testing.assert_allclose(actual, losses_by_keras(), rtol=1e-3)


@each_layer
def test_training_on_ids_is_that_on_one_hot_rows(name):
    targets = np.array([1, 2, 0])
    trained = []
    for x, shape, dtype in [(IDS, 1, "int32"), (one_hot(IDS), SIZE, "float32")]:
        layer, _ = pair(name, SIZE, return_sequences=False, return_state=False)
        model = keras.Sequential(
            [keras.Input((None, shape), dtype=dtype), layer, keras.layers.Softmax()]
        )
        loss = "sparse_categorical_crossentropy"
        model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
        before = layer.get_weights()
        model.fit(x, targets, epochs=2, shuffle=False, verbose=0)
        trained.append(layer.get_weights())
    for a, b, old in zip(*trained, before, strict=True):
        # Two updates of weights below 4, about ten roundings each: 2 * 10 * 2**-22.
        np.testing.assert_allclose(a, b, rtol=0, atol=5e-6)
        assert np.abs(a - old).max() > 1e-3


@each_layer
def test_integers_of_one_feature_are_not_ids(name):
    layer, stock = (getattr(m, name)(UNITS) for m in (recurrent, keras.layers))
    series = np.arange(24, dtype=np.int32).reshape(2, 12, 1) % 5
    expected = stock(series.astype(np.float32))
    layer.build(series.shape)
    layer.set_weights(stock.get_weights())
    for given in (series, series.astype(np.float32)):
        np.testing.assert_allclose(layer(given), expected, atol=1e-5)
