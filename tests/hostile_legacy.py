"""Hostile and damaged Keras 2 files (`.h5`), and what `textgen convert` does with them.

The test of `textgen/models/legacy.py` runs a part of them; all of them:

    python tests/hostile_legacy.py --all

A file must be refused with one clear error, or hold the very same model. HDF5 has
no checksum, so that the flip of a bit in a number can give another number. These flips
are counted, and they must lie in numbers or in texts.
"""

import argparse
import collections
import copy
import json
import os
import random
import resource
import tempfile
import time
import warnings
from pathlib import Path

import h5py
import numpy as np

from textgen.model_file import ModelFileError
from textgen.models import legacy
from textgen.models.legacy_file import LegacyFile
from textgen.text.vocabulary import Vocabulary

SYMBOLS, UNITS, STEPS = 5, 4, 7
VOCABULARY = Vocabulary("abcd ")
GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}

# What a field can have in place of its value.
VALUES = [
    *(None, True, False, 0, 1, -1, 2, 1.5, 0.5, -0.5, 1e30, -1e30, 1e-30, 10**9, 2**31),
    *(2**63, 10**19, float("nan"), float("inf"), float("-inf"), "", "1", "true", "x"),
    *("softmax", "os.system", "\x1b[31m", "../../x", "\ud800", "a" * 10_000, [], [1]),
    *(
        [[]],
        {},
        {"a": 1},
        {"class_name": "Lambda", "config": {}},
        [None, STEPS, SYMBOLS],
    ),
    *("hard_sigmoid", "sigmoid", "tanh", "linear", "relu", "keras.utils.get_file"),
]


# === Files as Keras 2 wrote them ===
def configuration(kind="LSTM", layers=2, functional=True):
    """The network: recurrent layers with dropout, and a dense softmax layer."""
    shape = {"batch_input_shape": [None, STEPS, SYMBOLS]}
    stack = []
    if functional:
        stack.append(("InputLayer", {"name": "input_1", "dtype": "float32", **shape}))
    for index in range(layers):
        config = {
            "name": f"rnn_{index}",
            "trainable": True,
            "units": UNITS,
            "activation": "tanh",
            "use_bias": True,
            "dropout": 0.0,
            "recurrent_dropout": 0.1,
            "return_sequences": index < layers - 1,
            "go_backwards": False,
            "stateful": False,
            "implementation": 1,
        }
        if not functional and index == 0:
            config |= shape
        if kind != "SimpleRNN":
            config["recurrent_activation"] = "hard_sigmoid"
        if kind == "GRU":
            config["reset_after"] = True
        stack.append((kind, config))
        stack.append(("Dropout", {"name": f"dropout_{index}", "rate": 0.5}))
    dense = {"units": SYMBOLS, "activation": "softmax", "use_bias": True}
    stack.append(("Dense", {"name": "dense_1", **dense}))
    described = [
        {"class_name": class_name, "config": config} for class_name, config in stack
    ]
    if not functional:
        return {"class_name": "Sequential", "config": described}
    for index, layer in enumerate(described):
        layer["name"] = layer["config"]["name"]
        before = described[index - 1]["config"]["name"]
        layer["inbound_nodes"] = [[[before, 0, 0, {}]]] if index else []
    ends = {"input_layers": [["input_1", 0, 0]], "output_layers": [["dense_1", 0, 0]]}
    network = {"name": "model_1", "layers": described, **ends}
    return {"class_name": "Model", "config": network}


def training():
    """The configuration of an Adam optimizer."""
    adam = {
        "lr": 0.01,
        "beta_1": 0.8,
        "beta_2": 0.9,
        "epsilon": 1e-8,
        "decay": 0.0,
        "clipvalue": 5.0,
    }
    return {
        "optimizer_config": {"class_name": "Adam", "config": adam},
        "loss": "categorical_crossentropy",
        "metrics": None,
        "sample_weight_mode": None,
        "loss_weights": None,
    }


def write(path, base=("LSTM", 2, True), config=None, optimizer=None, edit=None):
    """Writes a file in the layout of Keras 2.

    `base` has the arguments of `configuration`. The configurations can be others than
    those of the arrays. `edit` gets the open file.
    """
    kind, count, _ = base
    config = configuration(*base) if config is None else config
    optimizer = training() if optimizer is None else optimizer
    rng = np.random.default_rng(0)
    gates = GATES[kind] * UNITS
    weights = {}
    for index in range(count):
        weights[f"rnn_{index}"] = {
            "kernel:0": (UNITS if index else SYMBOLS, gates),
            "recurrent_kernel:0": (UNITS, gates),
            "bias:0": (2, gates) if kind == "GRU" else (gates,),
        }
    weights["dense_1"] = {"kernel:0": (UNITS, SYMBOLS), "bias:0": (SYMBOLS,)}
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.0.6"
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        arrays = []
        for layer, shapes in weights.items():
            inner = group.create_group(layer)
            names = [f"{layer}/{name}" for name in shapes]
            inner.attrs["weight_names"] = [name.encode() for name in names]
            for name, shape in zip(names, shapes.values(), strict=True):
                inner[name] = rng.normal(size=shape).astype("float32")
                arrays.append(shape)
        file.attrs["training_config"] = json.dumps(optimizer)
        group = file.create_group("optimizer_weights")
        names = ["iterations:0", *(f"Variable_{i}:0" for i in range(2 * len(arrays)))]
        group.attrs["weight_names"] = [name.encode() for name in names]
        group["iterations:0"] = np.float32(77)
        for name, shape in zip(names[1:], arrays * 2, strict=True):
            group[name] = rng.uniform(size=shape).astype("float32")
        if edit is not None:
            edit(file)
    return path


# === Hostile files ===
def places(value, path=()):
    """Yields the path of every field and item of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


def changed(value, path, new):
    """Returns a copy with another value at a path."""
    result = copy.deepcopy(value)
    *parents, last = path
    inner = result
    for key in parents:
        inner = inner[key]
    inner[last] = new
    return result


def without(value, path):
    """Returns a copy without the field or item at a path."""
    result = copy.deepcopy(value)
    *parents, last = path
    inner = result
    for key in parents:
        inner = inner[key]
    del inner[last]
    return result


BASES = (("LSTM", 2, True), ("GRU", 1, False), ("SimpleRNN", 1, True))


def field_cases(base):
    """Yields `(name, arguments of write)` for mutations of all fields."""
    for key, value in (("config", configuration(*base)), ("optimizer", training())):
        for path in places(value):
            for new in VALUES:
                yield f"{path}={new!r:.40}", {key: changed(value, path, new)}
            yield f"no {path}", {key: without(value, path)}


KERNEL = "model_weights/rnn_0/rnn_0/kernel:0"


def replaced(name, **options):
    """Returns an edit that stores a dataset in another way."""

    def edit(file):
        old = file[name]
        values = {"shape": old.shape, "dtype": "f4", **options}
        del file[name]
        file.create_dataset(name, **values)

    return edit


def virtual(file):
    layout = h5py.VirtualLayout((SYMBOLS, 4 * UNITS), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", layout.shape)
    del file[KERNEL]
    file.create_virtual_dataset(KERNEL, layout)


def of_type(dtype):
    def edit(file):
        values = file[KERNEL][...].astype(dtype)
        del file[KERNEL]
        file[KERNEL] = values

    return edit


def spoiled(name, value):
    def edit(file):
        values = file[name][...]
        values[(0,) * values.ndim] = value
        file[name][...] = values

    return edit


def linked(link):
    def edit(file):
        del file[KERNEL]
        file[KERNEL] = link(file)

    return edit


def committed(file):
    old = file[KERNEL][...]
    del file[KERNEL]
    file["type"] = old.dtype
    file.create_dataset(KERNEL, data=old, dtype=file["type"])


def texts(key, value):
    def edit(file):
        file.attrs[key] = value

    return edit


def names(value):
    def edit(file):
        file["model_weights/rnn_0"].attrs["weight_names"] = value

    return edit


def loop(file):
    file["model_weights/again"] = file["model_weights"]


def deep(file):
    file.create_group("/".join(["model_weights"] + ["a"] * 2000))


def wide(file):
    for index in range(6_000):
        file.create_group(f"model_weights/a{index}")


def layers(count):
    def edit(file):
        config = configuration(layers=count)
        file.attrs["model_config"] = json.dumps(config)

    return edit


EDITS = {
    "external link": linked(lambda file: h5py.ExternalLink("/etc/x.h5", "/y")),
    "soft link": linked(lambda file: h5py.SoftLink("/model_weights/rnn_1")),
    "hard link": linked(lambda file: file["model_weights/rnn_1/rnn_1/kernel:0"]),
    "external storage": replaced(
        KERNEL, external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)]
    ),
    "virtual": virtual,
    "chunked": replaced(KERNEL, chunks=(1, 1)),
    "bomb, chunked": replaced(KERNEL, shape=(2**20, 2**20), chunks=(1024, 1024)),
    "bomb, gzip": replaced(KERNEL, shape=(2**16, 2**16), compression="gzip"),
    "bomb, one block": replaced(KERNEL, shape=(2**20, 2**20)),
    "bomb, unlimited": replaced(KERNEL, maxshape=(None, None)),
    "bomb, iterations": replaced("optimizer_weights/iterations:0", shape=(2**40,)),
    "gzip": replaced(KERNEL, compression="gzip"),
    "no data": replaced(KERNEL),
    "empty": replaced(KERNEL, shape=(0, 4 * UNITS)),
    "committed type": committed,
    "loop": loop,
    "deep groups": deep,
    "6,000 groups": wide,
    "1,000 layers": layers(1000),
    "4,000 layers": layers(4_000),
    "no brackets end": texts("model_config", "[" * 100_000),
    "nested objects": texts("model_config", '{"a":' * 100_000),
    "many digits": texts("model_config", '{"class_name": ' + "9" * 50_000 + "}"),
    "not JSON": texts("model_config", "x"),
    "config is a number": texts("model_config", 5),
    "config is a list": texts("model_config", ["{}", "{}"]),
    "config is zeros": texts("model_config", np.zeros((50, 50))),
    "config is JSON null": texts("model_config", "null"),
    "field twice": texts(
        "model_config", '{"class_name": "Model", "class_name": "Model"}'
    ),
    "training is a list": texts("training_config", "[]"),
    "training is NaN": texts("training_config", "NaN"),
    "large config": texts("model_config", json.dumps(["a" * 1000] * 3000)),
    "weight names are numbers": names(np.arange(3)),
    "weight names are none": names(np.zeros(0)),
    "weight names twice": names([b"rnn_0/kernel:0"] * 3),
    "weight name of a parent": names([b"../../x", b"rnn_0/bias:0", b"rnn_0/kernel:0"]),
    "weight name of nothing": names([b"", b"/", b"//"]),
    "weight names swapped": names(
        [b"rnn_0/recurrent_kernel:0", b"rnn_0/kernel:0", b"rnn_0/bias:0"]
    ),
    "escape sequence as a name": lambda file: file.create_group("\x1b[31mred"),
    "iterations -5": spoiled("optimizer_weights/iterations:0", -5),
    "iterations 1.5": spoiled("optimizer_weights/iterations:0", 1.5),
    "iterations 1e30": spoiled("optimizer_weights/iterations:0", 1e30),
    "iterations NaN": spoiled("optimizer_weights/iterations:0", np.nan),
    "second moment -1": spoiled("optimizer_weights/Variable_15:0", -1),
    "first moment inf": spoiled("optimizer_weights/Variable_0:0", np.inf),
    **{
        f"weight {value}": spoiled(KERNEL, value) for value in (np.nan, np.inf, -np.inf)
    },
    **{
        f"weights of type {dtype}": of_type(dtype)
        for dtype in ("?", "i1", "u8", "i4", "c8", ">f4", "f8")
    },
    "weights of text": replaced(KERNEL, dtype="S4"),
    "weights of objects": replaced(KERNEL, dtype=h5py.string_dtype()),
    "weights of records": replaced(KERNEL, dtype=[("a", "f4"), ("b", "f4")]),
}


def truncations(data, step=1):
    """Yields the start of a file, for every percent."""
    for percent in range(0, 100, step):
        yield f"first {percent} %", data[: len(data) * percent // 100]


def flips(data, count, seed=0):
    """Yields copies of a file with one bit or one byte changed."""
    source = random.Random(seed)
    for index in range(count):
        at = source.randrange(len(data))
        new = data[at] ^ (1 << source.randrange(8))
        if index % 2:
            new = source.choice([each for each in range(256) if each != data[at]])
        yield f"byte {at}: {data[at]} to {new}", at, replaced_byte(data, at, new)


def pointers(data, inside):
    """Yields copies of a file with another number in place of one address or size."""
    for at in range(0, len(data) - 8, 8):
        value = int.from_bytes(data[at : at + 8], "little")
        if inside(at) and 0 < value <= len(data):
            for new in (0, at, 96, value ^ 8, value + 8, len(data), 2**63, 2**64 - 1):
                text = f"address {value} at {at} to {new}"
                yield text, data[:at] + new.to_bytes(8, "little") + data[at + 8 :]


def zeros(data, count, seed=0):
    """Yields copies of a file with zeros in place of a part: start, length, file."""
    source = random.Random(seed)
    for _ in range(count):
        length = source.choice([8, 64, 512, 4096])
        at = source.randrange(len(data) - length) // 8 * 8
        yield at, length, data[:at] + bytes(length) + data[at + length :]


def replaced_byte(data, at, new):
    copied = bytearray(data)
    copied[at] = new
    return bytes(copied)


# === What becomes of them ===
def attempt(path, vocabulary=VOCABULARY):
    """Reads a file; returns its contents, or the error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            contents = legacy.read(path, vocabulary)
        except Exception as error:
            return error, []
    return contents, [str(warning.message) for warning in caught]


def is_clear(error):
    """Tells whether an error is a ModelFileError of one short line."""
    text = str(error)
    return type(error) is ModelFileError and len(text) <= 300 and text.isprintable()


def equal(one, other):
    """Tells whether two files have the same contents, to the bit."""
    return (one.stack, one.adam, one.iterations) == (
        other.stack,
        other.adam,
        other.iterations,
    ) and all(
        np.array_equal(a, b)
        for first, second in zip(
            (*one.weights, one.moments), (*other.weights, other.moments), strict=True
        )
        for a, b in zip(first, second, strict=True)
    )


def outcome(path, expected, vocabulary=VOCABULARY):
    """Returns "refused", "equal", "announced", "changed", or the error that escaped."""
    found, caught = attempt(path, vocabulary)
    if isinstance(found, Exception):
        return "refused" if is_clear(found) else f"escaped: {found!r:.200}"
    if caught:
        return "announced"
    return "equal" if equal(found, expected) else "changed"


def numbers_and_texts(path):
    """Returns the ranges of bytes that hold numbers, and those that hold texts."""
    with open(path, "rb") as file:
        source = LegacyFile(file)
        arrays, stack = [], [source.root]
        while stack:
            for member in stack.pop().members.values():
                if hasattr(member, "members"):
                    stack.append(member)
                else:
                    length = int(np.prod(member.shape)) * member.dtype.itemsize
                    arrays.append(range(member.address, member.address + length))
    data = Path(path).read_bytes()
    with h5py.File(path) as file:
        found = [
            file.attrs[key].encode() for key in ("model_config", "training_config")
        ]
    return arrays, [
        range(data.index(text), data.index(text) + len(text)) for text in found
    ]


def place_of(at, arrays, parsed):
    """Returns what a byte is part of."""
    if any(at in part for part in arrays):
        return "a number"
    return "a text" if any(at in part for part in parsed) else "the structure"


def run_all(folder, count):
    """Tries all files, and prints what became of them."""
    path = folder / "old.h5"
    results = collections.defaultdict(collections.Counter)
    shown, slowest = [], 0.0

    def record(group, name, expected, vocabulary=VOCABULARY):
        nonlocal slowest
        start = time.perf_counter()
        result = outcome(path, expected, vocabulary)
        slowest = max(slowest, time.perf_counter() - start)
        results[group][result.split(":")[0]] += 1
        if result not in ("refused", "equal"):
            shown.append(f"{group}: {name}: {result}")

    for base in BASES:
        expected = legacy.read(write(path, base), VOCABULARY)
        for name, options in field_cases(base):
            write(path, base, **options)
            record(f"fields of {base[0]}", name, expected)
    expected = legacy.read(write(path), VOCABULARY)
    for name, edit in EDITS.items():
        write(path, edit=edit)
        record("HDF5", name, expected)
    bases = [("small", write(folder / "base.h5"), VOCABULARY)]
    if data := os.environ.get("TEXTGEN_DATA"):
        real = Path(data) / "model_shakespeare_kiank_350_epoch.h5"
        if real.is_file():
            symbols = map(chr, range(97, 97 + 38))
            bases.append(("real", real, Vocabulary(symbols)))
    for label, base, vocabulary in bases:
        content, expected = base.read_bytes(), legacy.read(base, vocabulary)
        ranges = numbers_and_texts(base)
        for name, data in truncations(content):
            path.write_bytes(data)
            record(f"truncated, {label}", name, expected, vocabulary)
        for name, at, data in flips(content, count):
            path.write_bytes(data)
            place = place_of(at, *ranges)
            record(f"flips in {place}, {label}", name, expected, vocabulary)

        def inside(at, ranges=ranges):
            return place_of(at, *ranges) == "the structure"

        for name, data in pointers(content, inside):
            path.write_bytes(data)
            record(f"addresses, {label}", name, expected, vocabulary)
        for at, length, data in zeros(content, count // 4):
            path.write_bytes(data)
            places = {place_of(each, *ranges) for each in range(at, at + length, 4)}
            where = "the structure" if places == {"the structure"} else "numbers, texts"
            record(f"zeros in {where}, {label}", at, expected, vocabulary)
    for group, counts in results.items():
        print(f"{group}: {sum(counts.values())} files; {dict(counts)}")
    print(*shown, sep="\n")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"slowest: {slowest:.2f} s; most memory of the process: {memory:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--all", action="store_true", help="all files, 10 minutes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        run_all(Path(made), 10_000 if arguments.all else 300)
