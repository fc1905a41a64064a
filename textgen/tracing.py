"""Compiled functions, gradients, and what TensorFlow keeps of them.

TensorFlow never frees what XLA compiled, nor a custom gradient of a graph. Without the
code of this module, the memory would grow with each model.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import keras
from keras import ops

from textgen.backend import is_eager, num_replicas, on_one_device

# === Compiled functions ===


def run_uncompiled(function: Callable, *args: Any) -> Any:
    """Calls a function without compiling it; the counterpart of `run_compiled`."""
    return function(*args)


def run_compiled(function: Callable, *args: Any) -> Any:
    """Calls a function of TensorFlow tensors, compiled by XLA for their shapes."""
    signature = tuple((tuple(x.shape), x.dtype.name) for x in keras.tree.flatten(args))
    return _tensorflow_function(function, signature)(*args)


@functools.lru_cache(maxsize=256)
def _tensorflow_function(function: Callable, signature: tuple) -> Callable:
    # One function per signature: TensorFlow warns if one function is traced often.
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


def compiled(
    function: Callable, variables: Sequence, key: Hashable | None = None
) -> Callable:
    """Compiles a pure function of arrays that reads variables.

    TensorFlow and JAX compile it with XLA, once for each shape of the arguments. With
    PyTorch, the function is not compiled.

    Args:
        function: Callable.
        variables: Sequence of `keras.Variable`. All variables that `function` reads.
        key: Hashable or `None`. Functions with the same key must be the same, apart
            from the values of the variables: with TensorFlow they are compiled once
            for all models. Defaults to `None`: this function is not shared.
    """
    framework = keras.backend.backend()
    if framework == "tensorflow":
        import tensorflow as tf

        # A variable that is used twice would be one variable for all models.
        unique = len({id(each) for each in variables}) == len(variables)
        unchanged = not tf.config.functions_run_eagerly() and num_replicas() == 1
        if key is not None and unique and unchanged:
            # The dtype of a layer can be changed after its variables were created.
            kinds = tuple((tuple(v.shape), v.value.dtype) for v in variables)
            return _shared_function((key, kinds)).of_model(function, variables)
        return _TensorflowFunction().of_model(function, [])
    if framework == "jax":
        import jax

        @jax.jit
        def pure(values: list, *args: Any) -> Any:
            with keras.StatelessScope(list(zip(variables, values, strict=True))):
                return function(*args)

        return lambda *args: pure(_values_on_jax(variables), *args)
    if framework == "torch":
        import torch

        def as_tensor(x: Any) -> Any:
            return x if x is None else ops.convert_to_tensor(x)

        def on_tensors(*args: Any) -> Any:
            return function(*keras.tree.map_structure(as_tensor, args))

        return torch.no_grad()(on_tensors)
    return function


def _values_on_jax(variables: Sequence) -> list:
    try:
        # What one process generates, the others need not compute.
        return [on_one_device(variable.value) for variable in variables]
    except TypeError as error:
        # Keras moves them into its loop, and back if a callback reads its `model`.
        raise RuntimeError(
            "On the backend jax, a model has no weights while it is trained: generate "
            "with the attribute model of a callback, or after fit."
        ) from error


class _TensorflowFunction:
    """A compiled function that takes the variables of a model as arguments.

    TensorFlow never frees what XLA compiled. So models with the same architecture share
    one function; the model that calls it for a new shape is the one that is traced. The
    function keeps no model in memory.
    """

    def __init__(self) -> None:
        import tensorflow as tf

        def trace(handles: list, *args: Any) -> Any:
            return self._trace(handles, *args)

        self._calling = threading.local()
        # Not a method: TensorFlow counts the traces of a function of this module, and
        # would warn if many models are used.
        self._function = tf.function(trace, jit_compile=True, autograph=False)
        # Five new shapes in a row are normal here. TensorFlow has no public switch.
        self._function._omit_frequent_tracing_warning = True

    def of_model(self, function: Callable, variables: Sequence) -> Callable:
        """Returns the compiled `function` of a model with these variables."""
        handles = [variable.handle for variable in variables]

        def call(*args: Any) -> Any:
            self._calling.model = function, variables
            try:
                return self._function(handles, *args)
            finally:
                self._calling.model = None

        return call

    def _trace(self, handles: list, *args: Any) -> Any:
        import tensorflow as tf

        function, variables = self._calling.model
        values = [
            (variable, tf.raw_ops.ReadVariableOp(resource=handle, dtype=variable.dtype))
            for variable, handle in zip(variables, handles, strict=True)
        ]
        with forgotten_gradients():
            if not values:
                return function(*args)
            with keras.StatelessScope(values):
                return function(*args)


@functools.lru_cache(maxsize=1024)
def _shared_function(key: Hashable) -> _TensorflowFunction:
    return _TensorflowFunction()


# === Gradients ===


def with_gradients(function: Callable, values: list) -> tuple[tuple, list]:
    """Calls a function, and differentiates its first result.

    Call it inside a compiled function: only there, the gradients that TensorFlow keeps
    of a graph are freed.

    Args:
        function: Callable. Takes a list like `values`; returns a scalar, and a
            structure of anything else.
        values: list of float tensors.

    Returns:
        The two results, and the list of the gradients of the scalar, with the shapes of
        `values`; zeros for a value that it does not depend on.
    """
    framework = keras.backend.backend()
    if framework == "jax":
        import jax

        return jax.value_and_grad(function, has_aux=True)(values)
    if framework == "torch":
        import torch

        with torch.enable_grad():
            values = [each.detach().requires_grad_() for each in values]
            scalar, others = function(values)
            gradients = torch.autograd.grad(
                scalar, values, allow_unused=True, materialize_grads=True
            )
        others = keras.tree.map_structure(lambda x: x.detach(), others)
        return (scalar.detach(), others), list(gradients)
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        scalar, others = function(values)
    gradients = tape.gradient(scalar, values, None, tf.UnconnectedGradients.ZERO)
    # The gradient of a lookup is a list of rows.
    return (scalar, others), [tf.convert_to_tensor(each) for each in gradients]


# === Custom gradients that TensorFlow keeps ===

# The names of the graphs that Keras makes of a step of `fit`, `evaluate` or `predict`,
# and of a call that only returns shapes. Nobody differentiates them from outside.
_STEPS, _SHAPES = ("one_step_on_data", "multi_step_on_data"), "scratch_graph"


def custom_gradient(function: Callable) -> Callable:
    """Does the same as `keras.ops.custom_gradient`, and nothing where Keras only needs
    the shapes."""
    if keras.backend.backend() == "tensorflow" and _graph_name().startswith(_SHAPES):
        return lambda *args: function(*args)[0]
    return ops.custom_gradient(function)


@contextlib.contextmanager
def step_gradients() -> Iterator[None]:
    """Frees the custom gradients of a step of `fit`, `evaluate` or `predict`."""
    step = keras.backend.backend() == "tensorflow" and _graph_name().startswith(_STEPS)
    with forgotten_gradients() if step else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def forgotten_gradients() -> Iterator[None]:
    """Frees the custom gradients that are defined in a TensorFlow graph in this block.

    TensorFlow registers them under new names and never frees them, which keeps the
    complete graph in memory. The graph cannot be differentiated after the block.
    """
    if is_eager():
        yield
        return
    import tensorflow as tf

    # There is no public name for it.
    from tensorflow.python.framework import ops as tensorflow_ops

    registry = tensorflow_ops.gradient_registry._registry
    try:
        yield
    finally:
        graph = tf.compat.v1.get_default_graph()
        for name, entry in list(registry.items()):
            custom = name.startswith("CustomGradient-")
            if custom and graph in _graphs_of(entry["type"]):
                registry.pop(name, None)


def _graph_name() -> str:
    """Returns the name of the graph that TensorFlow traces; `""` for none."""
    import tensorflow as tf

    graph = None if is_eager() else tf.compat.v1.get_default_graph()
    return getattr(graph, "name", "")


def _graphs_of(gradient: Callable, depth: int = 1) -> Iterator[Any]:
    """Yields the graphs of the tensors that a function refers to, and their parents."""
    import tensorflow as tf

    for cell in gradient.__closure__ or ():
        value = cell.cell_contents
        if depth and getattr(value, "__closure__", None):
            yield from _graphs_of(value, depth - 1)
        for each in value if isinstance(value, list | tuple) else [value]:
            graph = each.graph if tf.is_symbolic_tensor(each) else None
            while graph is not None:
                yield graph
                graph = getattr(graph, "outer_graph", None)
