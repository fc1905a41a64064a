"""What the cells of a network hold while it reads a text.

Names of dimensions: N texts, T tokens or steps, L steps of a window, C cells of all
layers, H units of a layer.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from textgen import backend
from textgen.analysis.alignment import pieces_of
from textgen.decoding.readers import Reader, StateReader, WindowReader
from textgen.decoding.scoring import Scorer
from textgen.models import network as networks
from textgen.models.keras_writer import KerasWriter
from textgen.models.language_model import LanguageModel
from textgen.text.tokenizer import Tokenizer
from textgen.text.unknown import encode_each

# Layers of a wrapped network whose output at a step depends on that step only.
_STEPWISE = (
    *("Activation", "BatchNormalization", "Dense", "Dropout", "Embedding"),
    *("GaussianDropout", "GaussianNoise", "LayerNormalization", "OneHot"),
)

_MAX_VALUES = 1 << 24  # activations of one read: 64 MiB


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Activations:
    """Activations of all cells after each token of a text.

    Attributes:
        tokens: tuple of T str. The text that each token adds; joined, they are the
            text. The text of a token that ends within a character is empty.
        ids: int32 array of shape `(T,)`. The tokens as ids.
        values: float32 array of shape `(T, C)`. Row t was computed after token t was
            read. The cells of the first layer come first.
        layers: tuple of `(name, H)`. Name and number of units of each recurrent layer,
            from input to output; the sum of the H is C.
        starts: int64 array of shape `(N,)`. The first token of each separate text.
    """

    tokens: tuple[str, ...]
    ids: np.ndarray
    values: np.ndarray
    layers: tuple[tuple[str, int], ...]
    starts: np.ndarray

    @property
    def text(self) -> str:
        """The text of all tokens."""
        return "".join(self.tokens)

    def place(self, cell: int) -> tuple[str, int]:
        """Returns the name of the layer of a cell, and its number in the layer.

        Args:
            cell: int. Column of `values`, from 0.
        """
        for name, size in self.layers:
            if cell < size:
                return name, cell
            cell -= size
        raise IndexError(f"There are only {self.values.shape[1]:,} cells.")

    def __repr__(self) -> str:
        layers = ", ".join(f"{name} {size}" for name, size in self.layers)
        return f"Activations({len(self.ids):,} tokens, {layers})"


def cell_activations(
    model: Any, text: str | Sequence[str], unknown: str | None = None
) -> Activations:
    """Returns what each cell of a model holds after each token of a text.

    The activation of an LSTM cell is `tanh(c)` of its cell state c, as in Karpathy,
    Johnson and Fei-Fei, "Visualizing and Understanding Recurrent Networks", 2015
    (arXiv:1506.02078); that of a GRU or SimpleRNN cell is its hidden state. All are
    between -1 and 1 with the usual activation, tanh.

    The model reads as it scores: a many-to-many model carries its state over the text,
    after a start step if it learned one; a many-to-one model reads a window of
    `sequence_length` tokens, from a zero state, for each token, and the activation is
    that at the end of the window.

    Args:
        model: `LanguageModel`, or a model of `textgen.from_keras` whose network is a
            plain stack of recurrent layers.
        text: str, or a list of separate texts, such as lines: each is read from the
            beginning, and the results are joined.
        unknown: str or `None`. What to do with symbols that are not in the vocabulary;
            see `Vocabulary.encode`.

    Returns:
        `Activations`. The memory is 4 bytes for each token and cell.

    Raises:
        ValueError: The text is empty, a symbol is unknown, or the model is something
            else; the message says what to do.

    Example:

    ```python
    activations = textgen.cell_activations(textgen.load("tinyshakespeare"), text)
    for match in textgen.rank_cells(activations):
        print(match)
    ```
    """
    layers, reader = _reader_of(model)
    texts = [text] if isinstance(text, str) else list(text)
    encoded = encode_each(texts, lambda each: model.vocabulary.encode(each, unknown))
    start = [reader.start_id] if reader.start_step else []
    sequences = [np.array([*start, *ids], np.int32) for ids in encoded]
    total = sum(map(len, encoded))
    if not total:
        raise ValueError("The text is empty: there is nothing to read.")
    values = np.empty((total, sum(size for _, size in layers)), np.float32)
    _CellReader(model.vocabulary, reader).read_into(values, sequences, len(start))
    return Activations(
        pieces_of(model.vocabulary, encoded),
        np.concatenate(encoded).astype(np.int32),
        values,
        layers,
        np.cumsum([0, *map(len, encoded[:-1])]),
    )


def untrained(model: Any) -> Any:
    """Returns a model with the same layers and new random weights.

    Its cells follow some features too: compare them with those of the model.

    Args:
        model: As for `cell_activations`.
    """
    return type(model).from_config(model.get_config())


class _CellReader(Scorer):
    """Reads texts in batches and chunks, as scores are computed."""

    def __init__(self, vocabulary: Tokenizer, reader: Reader) -> None:
        self.vocabulary, self.reader = vocabulary, reader

    def read_into(
        self, values: np.ndarray, sequences: list[np.ndarray], skipped: int
    ) -> None:
        """Writes the activations of texts, without their first `skipped` steps."""
        lengths = [len(each) - skipped for each in sequences]
        starts = np.cumsum([0, *lengths])
        pairs = [(each, each) for each in sequences]
        for row, at, found in self._read_all(pairs, "features"):
            found = found[max(0, skipped - at) :]
            first = starts[row] + max(0, at - skipped)
            # A text that is only a start step has no tokens.
            values[first : first + len(found)] = found


def _reader_of(model: Any) -> tuple[tuple[tuple[str, int], ...], Reader]:
    """Returns layers, and a reader whose features are the activations of the cells."""
    if not isinstance(model, LanguageModel | KerasWriter):
        raise ValueError(
            f"Activations are those of the cells of one network; {model!r} has several "
            "or none. Give a LanguageModel, or a model of textgen.from_keras."
        )
    own = model.reader
    stack = _layers_of(model)
    recurrent = [layer for layer in stack if networks.is_recurrent(layer)]
    layers = tuple((layer.name, int(layer.units)) for layer in recurrent)

    def architecture() -> Any:
        return (key := own.key) and ("cells", key)

    def variables() -> Sequence:
        return own.variables

    reader: Reader
    if isinstance(own, StateReader):
        reader = StateReader(
            own.initial,
            own.step,
            _scanned(own.step, layers),
            variables,
            own.start_id,
            own.start_step,
            architecture,
        )
    else:
        assert isinstance(own, WindowReader)
        # A start step would be padding, as all steps before a text are.
        reader = WindowReader(
            _at_the_end(_scanned(_step_of(model, stack), layers), recurrent),
            variables,
            own.length,
            own.start_id,
            architecture=architecture,
        )
    cells = sum(size for _, size in layers)
    reader.max_read_size = min(reader.max_read_size, max(1, _MAX_VALUES // cells))
    return layers, reader


def _scanned(step: Callable, layers: tuple[tuple[str, int], ...]) -> Callable:
    """Returns `(ids, carry) -> (activations, no logits, carry)` over all steps.

    Args:
        step: Callable. `(ids, carry) -> (logits, carry)`, see `Reader.step`.
        layers: tuple of `(name, H)`.
    """

    def advance(carry: Any, inputs: list) -> tuple:
        _, carry = step(ops.cast(inputs[0], "int32"), carry)
        # The last state is the hidden state, or the cell state of an LSTM.
        cells = [
            ops.tanh(ops.cast(states[-1], "float32"))
            if len(states) == 2
            else ops.cast(states[-1], "float32")
            for states in carry
        ]
        return carry, cells

    def read(ids: Any, carry: Any) -> tuple:
        # The outputs of `scan` have the dtype of its first input.
        inputs = ops.cast(ops.transpose(ids), "float32")
        widths = [size for _, size in layers]
        carry, cells = backend.scan(advance, list(carry), [inputs], widths)
        values = ops.transpose(ops.concatenate(cells, axis=-1), (1, 0, 2))
        return values, values[:, :, :0], carry

    return read


def _at_the_end(read: Callable, recurrent: list) -> Callable:
    """Returns `windows -> (activations, no logits)` at the last step of each window."""

    def predict(windows: Any) -> tuple:
        rows = windows.shape[0]
        zeros = [list(each.get_initial_state(batch_size=rows)) for each in recurrent]
        values, nothing, _ = read(windows, zeros)
        return values[:, -1], nothing[:, -1]

    return predict


def _layers_of(model: Any) -> list:
    """Returns the layers of a model, up to the last recurrent one.

    Raises:
        ValueError: A network is not a plain stack; the message names the layer.
    """
    if isinstance(model, LanguageModel):
        norms = model.norm_layers or [None] * len(model.recurrent_layers)
        middle = zip(model.recurrent_layers, norms, strict=True)
        layers = [model.input_layer, *(each for pair in middle for each in pair)]
        return [layer for layer in layers if layer is not None]
    found = networks.stack_of(model.network) if model.carries_state else None
    layers = _checked(model.network) if found is None else found
    last = max(at for at, each in enumerate(layers) if networks.is_recurrent(each))
    return layers[: last + 1]


def _checked(network: Any) -> list:
    """Returns the layers of a many-to-one network that is a plain stack."""
    remedy = (
        "Activations need a plain stack of SimpleRNN, GRU or LSTM layers, each of "
        "which reads the layer before it: build and train such a network, or use "
        "textgen.LanguageModel."
    )
    layers = [each for each in network.layers if type(each).__name__ != "InputLayer"]
    recurrent = [at for at, each in enumerate(layers) if networks.is_recurrent(each)]
    if recurrent:
        layers = layers[: recurrent[-1] + 1]
    tensor = network.inputs[0]
    for layer in layers:
        plain = layer.input is tensor and not getattr(layer, "mask_zero", False)
        if networks.is_recurrent(layer):
            plain = plain and not layer.go_backwards
        elif type(layer).__name__ not in _STEPWISE:
            plain = False
        if not plain:
            raise ValueError(
                f"The layer {layer.name!r} ({type(layer).__name__}) does not read the "
                f"text from step to step. {remedy}"
            )
        tensor = layer.output
    if not recurrent:
        raise ValueError(
            f"The network {network.name!r} has no recurrent layer. {remedy}"
        )
    return layers


def _step_of(model: Any, stack: list) -> Callable:
    """Returns a function that reads one id of each text, `(ids, carry) -> (…, carry)`.

    Args:
        model: A many-to-one model, whose reader has no such step.
        stack: list of layers, up to the last recurrent one.
    """

    def step(ids: Any, carry: list) -> tuple:
        x = ops.expand_dims(ids, 1)
        if getattr(model, "input_kind", "ids") == "one_hot":
            dtype = model.network.inputs[0].dtype
            x = ops.one_hot(x, len(model.vocabulary), dtype=dtype)
        states: list = []
        with backend.exclusive():
            for layer in stack:
                if networks.is_recurrent(layer):
                    x, state = layer.cell(x[:, 0], carry[len(states)])
                    states.append(list(state))
                    x = ops.expand_dims(x, 1)
                else:
                    x = layer(x)
        return x, states

    return step
