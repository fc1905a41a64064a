"""Recurrences over all steps of a sequence, with gradients written by hand.

Three things make them fast on a CPU:

- State-independent work happens outside the loop: the caller projects the inputs of
  all steps in one product.
- The loop is compiled. Each step does one product with the state, and stores the gates
  for the gradient.
- The loop of the gradient also does one product per step; all work that does not depend
  on the next step happens before it. The gradient of the recurrent kernel is one
  product over all steps.

The equations are those of `keras.layers.SimpleRNN`, `keras.layers.GRU` with
`reset_after=True`, and `keras.layers.LSTM`, with tanh as activation and sigmoid for the
gates. In mixed precision, only the operands of the products have the smaller dtype;
states and gates have the dtype of the projected inputs.

Names of dimensions: T steps, N examples in a batch, H units, G gates.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from textgen import backend, tracing


class Recurrence(NamedTuple):
    """A recurrence over all steps and its gradient, both as pure functions.

    Args:
        forward: Callable. Takes the projected inputs, `(T, N, G H)`, the list of
            recurrent weights, and the list of states before the first step, each
            `(N, H)`. Returns the outputs, `(T, N, H)`, the last states, and a list of
            values for the gradient.
        backward: Callable. Takes the recurrent weights, the states before the first
            step, the outputs, the list of values from `forward`, and the gradients of
            the outputs and of the last states. Returns the gradients of the projected
            inputs, of the products of state and recurrent kernel, and of the states
            before the first step.
    """

    forward: Callable
    backward: Callable


def recur(
    recurrence: Recurrence, z: Any, weights: list, states: list
) -> tuple[Any, list]:
    """Runs a recurrence that can be differentiated.

    Args:
        recurrence: `SIMPLE_RNN`, `GRU` or `LSTM`.
        z: `(T, N, G H)`. Projected inputs, with the input bias added.
        weights: list of the recurrent kernel, `(H, G H)`, and, for a GRU, the
            recurrent bias, `(3 H,)`.
        states: list of the states before the first step, each `(N, H)`, with the dtype
            of `z`.

    Returns:
        The outputs, `(T, N, H)`, and the list of the last states.
    """
    run = (
        tracing.run_compiled
        if backend.worth_compiling(z.shape[0], z.dtype, weights[0])
        else tracing.run_uncompiled
    )

    @tracing.custom_gradient
    def differentiable(z: Any, *others: Any) -> tuple:
        weights, states = list(others[:count]), list(others[count:])
        outputs, last, kept = run(recurrence.forward, z, weights, states)

        def gradient(*upstream: Any) -> tuple:
            if len(upstream) == 1:  # JAX passes one tuple
                [upstream] = upstream
            d_outputs, *d_last = upstream
            d_z, d_product, d_states = run(
                recurrence.backward, weights, states, outputs, kept, d_outputs, d_last
            )
            kernel, *bias = weights
            d_kernel = ops.matmul(
                ops.transpose(_rows(_before(states[0], outputs), kernel.dtype)),
                _rows(d_product, kernel.dtype),
            )
            d_bias = [ops.sum(d_product, axis=(0, 1)) for _ in bias]
            return (
                d_z,
                d_kernel,
                *(ops.cast(d, kernel.dtype) for d in d_bias),
                *d_states,
            )

        return (outputs, *last), gradient

    count = len(weights)
    outputs, *last = differentiable(z, *weights, *states)
    return outputs, last


def _simple_rnn(z: Any, weights: list, states: list) -> tuple:
    [kernel] = weights

    def step(states: list, xs: list) -> tuple:
        [h], [z] = states, xs
        h = ops.tanh(z + _product(h, kernel))
        return [h], [h]

    states, [hs] = backend.scan(step, states, [z], [kernel.shape[0]])
    return hs, states, []


def _simple_rnn_gradient(
    weights: list, states: list, hs: Any, kept: list, d_hs: Any, d_states: list
) -> tuple:
    [kernel] = weights
    transposed = ops.transpose(kernel)

    def step(states: list, xs: list) -> tuple:
        [d_h], [d, slope] = states, xs
        d_z = (d_h + d) * slope
        return [_product(d_z, transposed)], [d_z]

    d_states, [d_z] = backend.scan(
        step, d_states, [d_hs, 1 - hs * hs], [kernel.shape[0]], reverse=True
    )
    return d_z, d_z, d_states


def _gru(z: Any, weights: list, states: list) -> tuple:
    kernel, bias = weights
    units = kernel.shape[0]

    def step(states: list, xs: list) -> tuple:
        [h], [z] = states, xs
        product = _product(h, kernel) + ops.cast(bias, h.dtype)
        gates = ops.sigmoid(z[:, : 2 * units] + product[:, : 2 * units])
        update, reset = gates[:, :units], gates[:, units:]
        product = product[:, 2 * units :]
        candidate = ops.tanh(z[:, 2 * units :] + reset * product)
        h = candidate + update * (h - candidate)
        return [h], [h, gates, candidate, product]

    widths = [units, 2 * units, units, units]
    states, [hs, *kept] = backend.scan(step, states, [z], widths)
    return hs, states, kept


def _gru_gradient(
    weights: list, states: list, hs: Any, kept: list, d_hs: Any, d_states: list
) -> tuple:
    kernel, _ = weights
    transposed = ops.transpose(kernel)
    units = kernel.shape[0]
    gates, candidate, product = kept
    update, reset = gates[..., :units], gates[..., units:]
    # The gradient of a pre-activation is its factor times the gradient of h.
    of_update = (_before(states[0], hs) - candidate) * update * (1 - update)
    of_candidate = (1 - update) * (1 - candidate * candidate)
    of_reset = of_candidate * product * reset * (1 - reset)
    factors = ops.concatenate([of_update, of_reset, of_candidate * reset], axis=-1)

    def step(states: list, xs: list) -> tuple:
        [d_h], [d, update, factors] = states, xs
        d_h = d_h + d
        d_product = factors * ops.concatenate([d_h, d_h, d_h], axis=-1)
        return [d_h * update + _product(d_product, transposed)], [d_h, d_product]

    d_states, [d_h, d_product] = backend.scan(
        step, d_states, [d_hs, update, factors], [units, 3 * units], reverse=True
    )
    d_z = ops.concatenate([d_product[..., : 2 * units], d_h * of_candidate], axis=-1)
    return d_z, d_product, d_states


def _lstm(z: Any, weights: list, states: list) -> tuple:
    [kernel] = weights
    units = kernel.shape[0]
    # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2, so that one tanh computes all four gates.
    candidate = np.arange(4 * units) // units == 2
    scale = ops.convert_to_tensor(np.where(candidate, 1.0, 0.5), z.dtype)
    shift = ops.convert_to_tensor(np.where(candidate, 0.0, 0.5), z.dtype)

    def step(states: list, xs: list) -> tuple:
        [h, c], [z] = states, xs
        gates = ops.tanh((z + _product(h, kernel)) * scale) * scale + shift
        i, f, g, o = ops.split(gates, 4, axis=-1)
        c = f * c + i * g
        h = o * ops.tanh(c)
        return [h, c], [h, c, gates]

    states, [hs, *kept] = backend.scan(step, states, [z], [units, units, 4 * units])
    return hs, states, kept


def _lstm_gradient(
    weights: list, states: list, hs: Any, kept: list, d_hs: Any, d_states: list
) -> tuple:
    [kernel] = weights
    transposed = ops.transpose(kernel)
    cs, gates = kept
    i, f, g, o = ops.split(gates, 4, axis=-1)
    tanh_c = ops.tanh(cs)
    # The gradient of a pre-activation is its factor times the gradient of c, or of h
    # for the output gate. c_by_h is the derivative of h with respect to c.
    factors = ops.concatenate(
        [
            g * i * (1 - i),
            _before(states[1], cs) * f * (1 - f),
            i * (1 - g * g),
            tanh_c * o * (1 - o),
        ],
        axis=-1,
    )
    c_by_h = o * (1 - tanh_c * tanh_c)

    def step(states: list, xs: list) -> tuple:
        [d_h, d_c], [d, c_by_h, factors, f] = states, xs
        d_h = d_h + d
        d_c = d_c + d_h * c_by_h
        d_z = factors * ops.concatenate([d_c, d_c, d_c, d_h], axis=-1)
        return [_product(d_z, transposed), d_c * f], [d_z]

    d_states, [d_z] = backend.scan(
        step, d_states, [d_hs, c_by_h, factors, f], [kernel.shape[1]], reverse=True
    )
    return d_z, d_z, d_states


SIMPLE_RNN = Recurrence(_simple_rnn, _simple_rnn_gradient)

GRU = Recurrence(_gru, _gru_gradient)

LSTM = Recurrence(_lstm, _lstm_gradient)


def _product(x: Any, kernel: Any) -> Any:
    """Returns `x @ kernel`, computed in the dtype of `kernel`, cast to that of `x`."""
    return ops.cast(ops.matmul(ops.cast(x, kernel.dtype), kernel), x.dtype)


def _before(first: Any, states: Any) -> Any:
    """Returns the states before each step, `(T, N, H)`, from those after each step."""
    return ops.concatenate([ops.expand_dims(first, 0), states[:-1]], axis=0)


def _rows(x: Any, dtype: Any) -> Any:
    """Reshapes `(T, N, …)` to `(T N, …)`."""
    return ops.reshape(ops.cast(x, dtype), (-1, x.shape[-1]))
