"""Makes hostile and damaged model files, and loads them.

`python tests/hostile_files.py --all` loads about 17,000 files, and prints the results;
`tests/models/test_loading.py` loads a sample of them. Every file must be refused with
one clear error, or load to the model that it describes, without any other effect.

The cases follow the published vulnerabilities of Keras's loading: CVE-2025-1550, -8747,
-9905, -9906, -12058, -12060, CVE-2026-0897, -1669, -1462, -12479.
"""

import argparse
import base64
import collections
import contextlib
import copy
import hashlib
import io
import json
import marshal
import os
import resource
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from functools import partial
from pathlib import Path

import h5py
import keras
import numpy as np

import textgen
from textgen import keras_internals, model_file

NAMES = ("metadata.json", "config.json", "model.weights.h5")
VOCABULARY = textgen.Vocabulary.from_text("abcde\n")


# === Models ===


def language_model():
    model = textgen.LanguageModel(
        VOCABULARY,
        cell="gru",
        units=(3, 4),
        embedding=4,
        dropout=0.25,
        layer_norm=True,
        tie_weights=True,
        return_sequences=True,
        stateful=True,
        batch_size=2,
        initializer=keras.initializers.RandomNormal(stddev=0.5),
    )
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 100)
    model.compile(
        keras.optimizers.Adam(schedule, clipnorm=1.0), metrics=[textgen.Perplexity()]
    )
    model.notes = {"corpus": "poems.txt", "loss": 1.5}
    return model


def small_model():
    model = textgen.LanguageModel(VOCABULARY, units=3, sequence_length=5)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    return model


def keras_network():
    tokens = keras.Input((4,), dtype="int32")
    x = keras.layers.Embedding(6, 3, mask_zero=True)(tokens)
    x = keras.layers.Bidirectional(keras.layers.GRU(2, return_sequences=True))(x)
    x = keras.layers.Dropout(0.2)(x)
    x = keras.layers.LSTM(3)(x)
    x = keras.layers.Dense(
        6, kernel_regularizer=keras.regularizers.L2(0.01), activation="softmax"
    )(x)
    network = keras.Model(tokens, x)
    network.compile("rmsprop", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return textgen.from_keras(network, VOCABULARY)


MODELS = {"language": language_model, "small": small_model, "keras": keras_network}


class Parts:
    """The three members of a model file, to be changed and packed again.

    The functions below yield names of cases, and functions that return their bytes.
    """

    def __init__(self, data):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = [archive.read(name) for name in NAMES]
        self.metadata, self.config = map(json.loads, parts[:2])
        self.weights = parts[2]

    def copy(self):
        return copy.deepcopy(self)

    def with_config(self, path, value):
        new = self.copy()
        new.config = changed(self.config, path, value)
        return new.pack()

    def with_metadata(self, path, value):
        new = self.copy()
        new.metadata = changed(self.metadata, path, value)
        return new.pack(right=False)

    def without(self, path):
        new = self.copy()
        del get(new.config, path[:-1])[path[-1]]
        return new.pack()

    def with_raw_config(self, data):
        new = self.copy()
        new.config = data
        return new.pack()

    def with_weights(self, data):
        new = self.copy()
        new.weights = data
        return new.pack()

    def as_old(self):
        """Without checksums, like a file of an older version."""
        new = self.copy()
        for name in ("sha256", "textgen_version"):
            new.metadata.pop(name, None)
        return new

    def pack(self, right=True):
        """Returns a zip; with `right`, its checksums are those of the members."""
        config = self.config
        if not isinstance(config, bytes):
            config = json.dumps(config).encode()
        metadata = self.metadata
        if right and "sha256" in metadata:
            sums = {"config.json": config, "model.weights.h5": self.weights}
            sums = {
                name: hashlib.sha256(part).hexdigest() for name, part in sums.items()
            }
            metadata = {**metadata, "sha256": {**metadata["sha256"], **sums}}
        return packed([json.dumps(metadata).encode(), config, self.weights])


def packed(parts, names=NAMES, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as archive:
        warnings.simplefilter("ignore")  # names that occur twice
        for name, part in zip(names, parts, strict=True):
            archive.writestr(zipfile.ZipInfo(name), part, method)
    return file.getvalue()


def saved(model, training=None, arrays=None):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.write(path, training, arrays)
        return path.read_bytes()


# === Paths in a configuration ===


def paths(value, path=()):
    """Yields the path of every value in a JSON value."""
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in items:
        yield from paths(each, (*path, key))


def get(value, path):
    for key in path:
        value = value[key]
    return value


def changed(value, path, new):
    """Returns a copy of a JSON value with another value at a path."""
    if not path:
        return new
    value = copy.deepcopy(value)
    get(value, path[:-1])[path[-1]] = new
    return value


# === Cases: what a configuration names ===

CODE = base64.b64encode(
    marshal.dumps(compile("open('/tmp/textgen-was-here', 'w')", "x", "eval"))
).decode()


def thing(module, name, config, registered=None):
    return {
        "module": module,
        "class_name": name,
        "config": config,
        "registered_name": registered,
    }


def function(module, name):
    return thing(module, "function", name, name)


LAMBDA = {"class_name": "__lambda__", "config": {"value": CODE}}
HOSTILE = {
    "lambda": {"class_name": "__lambda__", "config": {"value": [CODE, None, None]}},
    "lambda layer": thing(
        "keras.layers", "Lambda", {"name": "x", "function": LAMBDA, "arguments": {}}
    ),
    "lambda of Keras": thing(
        "keras.layers",
        "Lambda",
        {
            "name": "x",
            "function": function("keras.datasets.california_housing", "load_data"),
            "arguments": {"path": "mnist.npz"},
        },
    ),
    "python": function("os", "system"),
    "builtins": function("builtins", "eval"),
    "get_file": function("keras.utils", "get_file"),
    "set_distribution": function("keras.distribution", "set_distribution"),
    "load_model": function("keras.models", "load_model"),
    "unsafe": function("keras.config", "enable_unsafe_deserialization"),
    "private": function("keras.src.utils.file_utils", "get_file"),
    "short": "set_distribution",
    "module": thing("antigravity", "Adam", {}),
    "import": thing("keras.src.trainers.trainer", "Trainer", {}),
    "registered": thing("textgen.models", "LanguageModel", {}, "textgen>LanguageModel"),
    "TFSMLayer": thing("keras.layers", "TFSMLayer", {"filepath": "/tmp/model"}),
    "StringLookup": thing(
        "keras.layers", "StringLookup", {"vocabulary": "/etc/passwd"}
    ),
    "TorchModuleWrapper": thing(
        "keras.layers", "TorchModuleWrapper", {"module": "gAR9lC4="}
    ),
    "typespec": {
        "class_name": "__typespec__",
        "spec_name": "Trainer",
        "module": "keras.src.trainers.trainer",
        "registered_name": None,
        "config": ["system"],
    },
    "tensor": {
        "class_name": "__tensor__",
        "config": {"value": [1.0], "dtype": "float32"},
    },
    "bytes": {"class_name": "__bytes__", "config": {"value": "x"}},
    "numpy": {
        "class_name": "__numpy__",
        "config": {"value": ["x"], "dtype": "S1000000000"},
    },
    "model": thing("keras", "Sequential", {"name": "x", "layers": []}),
}


def references(parts):
    """A hostile object in every place of the configuration."""
    for path in paths(parts.config):
        if "notes" in path or "symbols" in path:
            continue  # plain data, never built
        for name, value in HOSTILE.items():
            if path and path[-1] == "name" and isinstance(value, str):
                continue  # a name may be any string
            yield f"{name} in {path}", partial(parts.with_config, path, value)


# === Cases: wrong values ===

DEEP = json.loads("[" * 200 + "]" * 200)
VALUES = (
    *(None, True, False, 0, 1, -1, 1.5, -0.5, 1e30, -1e30, float("inf"), float("nan")),
    *(2**31, 10**30, -(10**30), "", "x", "\x1b[31mred", "é" * 2000, "\ud800"),
    *([], {}, [1], [[]], {"a": 1}, DEEP),
)


def values(parts):
    """Wrong types and extreme values in every place of the configuration."""
    for path in paths(parts.config):
        if len(path) > 1 and path[-2] == "symbols" and path[-1] > 1:
            continue
        for value in VALUES:
            name = f"{value!r:.40} in {path}"
            yield name, partial(parts.with_config, path, value)
        if path:
            yield f"without {path}", partial(parts.without, path)
        if isinstance(get(parts.config, path), dict):
            name = f"unknown field in {path}"
            yield name, partial(parts.with_config, (*path, "unknown"), 1)
    for path in paths(parts.metadata):
        for value in VALUES:
            name = f"metadata: {value!r:.40} in {path}"
            yield name, partial(parts.with_metadata, path, value)
    text = json.dumps(parts.config)
    for key in ('"cell"', '"class_name"', '"network"', '"name"'):
        raw = text.replace(key, f"{key}: 1, {key}", 1).encode()
        if key in text:
            yield f"{key} twice", partial(parts.with_raw_config, raw)
    for name, raw in {
        "empty": b"",
        "no JSON": b"{",
        "number": b"1",
        "no UTF-8": b'{"a": "\xff"}',
        "deep": b"[" * 100_000,
        "deep objects": b'{"a":' * 100_000,
        "large number": b'{"a": ' + b"9" * 100_000 + b"}",
        "comment": text.encode() + b"// x",
    }.items():
        yield f"config: {name}", partial(parts.with_raw_config, raw)


# === Cases: damage ===


def flipped(data, at, bit):
    damaged = bytearray(data)
    damaged[at] ^= 1 << bit
    return bytes(damaged)


def with_crc(data, name, at, bit):
    """Flips a bit in a member, and makes the checksum of the zip right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {each: bytearray(archive.read(each)) for each in NAMES}
    members[name][at] ^= 1 << bit
    return packed([bytes(members[each]) for each in NAMES])


def flips(data, count):
    """Single bits in any place, some with the checksum of the zip made right."""
    random = np.random.default_rng(0)
    for index in range(count // 2):
        at, bit = int(random.integers(len(data))), int(random.integers(8))
        yield f"flip {at}.{bit}", partial(flipped, data, at, bit)
        name = NAMES[(0, 1, 2, 2)[index % 4]]
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = archive.getinfo(name).file_size
        at = int(random.integers(size))
        case = partial(with_crc, data, name, at, bit)
        yield f"flip {name} {at}.{bit}", case


def structural_flips(parts, count):
    """Single bits of the HDF5 file outside the arrays, with all checksums right."""
    random = np.random.default_rng(1)
    arrays = model_file.hdf5.read(parts.weights)[0].values()
    places = np.ones(len(parts.weights), bool)
    for stored in arrays:
        places[stored.offset : stored.offset + stored.size] = False
    for at in random.choice(np.flatnonzero(places), count):
        weights = flipped(parts.weights, at, bit := int(random.integers(8)))
        yield f"HDF5 flip {at}.{bit}", partial(parts.with_weights, weights)


def truncations(data):
    for percent in range(100):
        yield (
            f"truncated to {percent} %",
            lambda p=percent: data[: len(data) * p // 100],
        )
    yield "without the last byte", lambda: data[:-1]
    yield "with one byte more", lambda: data + b"x"
    yield "with zeros before", lambda: bytes(100) + data


def archives(parts):
    """Zip files that are unlike those that `save` writes."""
    members = [json.dumps(parts.metadata).encode(), json.dumps(parts.config).encode()]
    members.append(parts.weights)
    whole = packed(members)
    more = [*members, b"x"]
    zipped = zipfile.ZIP_DEFLATED
    for name, case in {
        "twice": lambda: packed([*members, members[1]], [*NAMES, NAMES[1]]),
        "twice of three": lambda: packed(
            [members[0], *members[:2]], [NAMES[0], *NAMES[:2]]
        ),
        "extra": lambda: packed(more, [*NAMES, "assets/x"]),
        "traversal": lambda: packed(more, [*NAMES, "../../x"]),
        "absolute": lambda: packed(more, [*NAMES, "/tmp/textgen-was-here"]),
        "renamed": lambda: packed(members, [*NAMES[:2], "model.weights.npz"]),
        "two": lambda: packed(members[:2], NAMES[:2]),
        "compressed": lambda: packed(members, method=zipped),
        "bomb": lambda: packed([*members[:2], bytes(50 << 20)], method=zipped),
        "many": lambda: packed([b""] * 66_000, map(str, range(66_000))),
        "comment": lambda: whole[:-2] + struct.pack("<H", 5) + b"hello",
    }.items():
        yield name, case
    for name, at, new in (
        ("size", 24, struct.pack("<L", 1 << 31)),
        ("stored size", 20, struct.pack("<L", 1 << 31)),
        ("offset", 42, struct.pack("<L", 7)),
        ("encrypted", 8, b"\1\0"),
        ("method", 10, b"\x0c\0"),
        ("name", 46, b"../"),
        ("link", 38, struct.pack("<L", 0o120777 << 16)),
    ):
        for start in (m for m in range(len(whole)) if whole[m : m + 4] == b"PK\1\2"):
            place = start + at
            damaged = whole[:place] + new + whole[place + len(new) :]
            yield f"{name} at {start}", lambda damaged=damaged: damaged
    locator = b"PK\6\7" + bytes(16)
    record = b"PK\6\6" + struct.pack("<Q", 44) + bytes(20)
    record += struct.pack("<QQQ", 1 << 40, 1 << 40, 0)
    yield "64 bits", lambda: whole[:-22] + record + locator + whole[-22:]


# === Cases: HDF5 ===


def hdf5_cases(parts):
    """Weights that are not the plain arrays of the model."""
    with h5py.File(io.BytesIO(parts.weights)) as file:
        found = []
        file.visititems(
            lambda name, item: found.append(name) if hasattr(item, "shape") else None
        )
    first = next(name for name in found if name.startswith("layers"))

    def case(change):
        file = io.BytesIO(parts.weights)
        with h5py.File(file, "r+") as hdf5:
            change(hdf5)
        return parts.with_weights(file.getvalue())

    def replaced(make):
        def change(file):
            old = file[first][()]
            del file[first]
            make(file, old)

        return change

    def create(**kwargs):
        return replaced(lambda file, old: file.create_dataset(first, **kwargs))

    def converted(dtype):
        return replaced(
            lambda file, old: file.create_dataset(first, data=old.astype(dtype))
        )

    def virtual(file, old):
        layout = h5py.VirtualLayout(old.shape, old.dtype)
        layout[...] = h5py.VirtualSource("/tmp/other.h5", "x", old.shape)
        file.create_virtual_dataset(first, layout)

    def external(file, old):
        file.create_dataset(
            first, old.shape, old.dtype, external=[("/etc/passwd", 0, 10_000)]
        )

    def odd_float(file, old):
        kind = h5py.h5t.IEEE_F32LE.copy()
        kind.set_ebias(100)
        space = h5py.h5s.create_simple(old.shape)
        dataset = h5py.h5d.create(file.id, first.encode(), kind, space)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, old)

    def with_value(value):
        def change(file):
            file[first][(0,) * file[first].ndim] = value

        return change

    def assign(name, value):
        def change(file):
            file[name] = value

        return change

    shape = h5py.File(io.BytesIO(parts.weights))[first].shape
    changes = {
        "external link": replaced(
            lambda f, old: f.__setitem__(first, h5py.ExternalLink("/tmp/x.h5", "x"))
        ),
        "soft link": replaced(
            lambda f, old: f.__setitem__(first, h5py.SoftLink("/layers"))
        ),
        "external group": assign("other", h5py.ExternalLink("/tmp/x.h5", "/")),
        "external storage": replaced(external),
        "virtual": replaced(virtual),
        "chunks": create(shape=shape, dtype="f4", chunks=True),
        "gzip": replaced(
            lambda f, old: f.create_dataset(first, data=old, compression="gzip")
        ),
        "bomb": create(shape=(1 << 20, 1000), dtype="f4"),
        "gzip bomb": create(shape=(1 << 20, 1000), dtype="f4", compression="gzip"),
        "not written": create(shape=shape, dtype="f4"),
        "group": replaced(lambda f, old: f.create_group(first)),
        "no shape": replaced(
            lambda f, old: f.create_dataset(first, data=h5py.Empty("f4"))
        ),
        "text": replaced(lambda f, old: f.create_dataset(first, data="text")),
        "reference": replaced(
            lambda f, old: f.create_dataset(first, shape, h5py.ref_dtype)
        ),
        "compound": replaced(
            lambda f, old: f.create_dataset(first, shape, [("a", "f4"), ("b", "i4")])
        ),
        "type": replaced(lambda f, old: f.__setitem__(first, np.dtype("f4"))),
        "odd float": replaced(odd_float),
        "other shape": replaced(
            lambda f, old: f.create_dataset(first, data=old[..., :-1])
        ),
        "transposed": replaced(
            lambda f, old: f.create_dataset(first, data=old.reshape(shape[::-1]))
        ),
        "flat": replaced(lambda f, old: f.create_dataset(first, data=old.ravel())),
        "missing": replaced(lambda f, old: None),
        "extra": assign("layers/other/vars/0", np.zeros(3, "f4")),
        "extra at the top": assign("other", np.zeros(3, "f4")),
        "extra large": assign("other", np.zeros(1 << 20, "f4")),
        "extra group": lambda f: f.create_group("layers/other/vars"),
        "training": assign("training/0", np.zeros(3, "f4")),
        "training group": lambda f: f.create_group("training"),
        "second name": lambda f: f.__setitem__("layers/other", f[first]),
        "circle": lambda f: f.__setitem__("layers/other", f["layers"]),
        "NaN": with_value(np.nan),
        "infinite": with_value(-np.inf),
        **{
            f"dtype {dtype}": converted(dtype)
            for dtype in ("?", "i1", "i4", "i8", "u2", "f2", "f8", "c8", ">f4")
        },
    }
    for name in found:
        if name.startswith("optimizer/vars/0"):
            for value in (-5, -(2**60)):
                changes[f"iterations {value}"] = assign_value(name, value)
        if name == "optimizer/vars/1" and "learning" in str(parts.config):
            changes["optimizer state NaN"] = assign_value(name, np.nan)
    for name, change in changes.items():
        yield f"HDF5: {name}", partial(case, change)
    for name, weights in {
        "empty": b"",
        "text": b"text",
        "zeros": bytes(len(parts.weights)),
        "half": parts.weights[: len(parts.weights) // 2],
        "user block": bytes(512) + parts.weights,
    }.items():
        yield f"HDF5: {name}", partial(parts.with_weights, weights)


def assign_value(name, value):
    def change(file):
        file[name][...] = value

    return change


# === Cases: small files that declare something large ===


def sizes(parts):
    """Returns `{name: bytes}`; each file is small, what it declares is not."""
    cases = {}

    def add(name, **config):
        new = parts.copy()
        new.config["config"].update(config)
        cases[name] = new.pack()

    add("20,000 units", units=[20_000])
    add("10,000 layers", units=[1] * 10_000)
    add("100 layers", units=[1] * 100)
    add("embeddings", embedding=1_000_000)
    add("10 million embeddings", embedding=10_000_000)
    add("window", sequence_length=10**9)
    stateful = {"return_sequences": True, "stateful": True}
    add("10 million rows", **stateful, batch_size=10_000_000)
    add("65,536 rows", **stateful, batch_size=65_536, units=[10_000])
    symbols = [chr(index) for index in range(0x4E00, 0x9F00)]
    vocabulary = {"level": "character", "unknown": "error", "symbols": symbols}
    add("vocabulary", vocabulary=vocabulary, units=[100_000])
    new = parts.copy()
    new.config = b"[" + b"0," * (20 << 20) + b"0]"
    cases["40 MB list"] = new.pack()
    new.config = b"[" + b"[]," * (10 << 20) + b"0]"
    cases["10 million lists"] = new.pack()
    new.config = b'{"a":"' + b"x" * (31 << 20) + b'"}'
    cases["long string"] = new.pack()
    new = parts.copy()
    new.config["compile_config"]["metrics"] = [
        thing("keras.metrics", "MeanIoU", {"name": "x", "num_classes": 30_000})
    ]
    cases["metric"] = new.pack()
    new = parts.copy()
    new.config["compile_config"]["optimizer"] = thing(
        "keras.optimizers",
        "Adam",
        {"name": "adam", "learning_rate": 0.1, "use_ema": True},
    )
    cases["optimizer"] = new.pack()
    members = [json.dumps(parts.metadata).encode(), b"{}", parts.weights]
    extra = [bytes(4 << 20)] * 12
    cases["extra members"] = packed(
        [*members, *extra],
        [*NAMES, *(f"assets/{index}" for index in range(12))],
        zipfile.ZIP_DEFLATED,
    )
    for name, make in hdf5_cases(parts):
        if "bomb" in name:
            cases[name] = make()
    return cases


# === Loading ===


class Watch:
    """Records what happens while a file is loaded: files, network, imports, code."""

    EVENTS = frozenset(
        {
            *("open", "import", "marshal.loads", "exec", "compile", "os.system"),
            *("subprocess.Popen", "socket.connect", "socket.getaddrinfo", "os.remove"),
            *(
                "os.rename",
                "os.mkdir",
                "shutil.rmtree",
                "urllib.Request",
                "tempfile.mkstemp",
            ),
        }
    )

    def __init__(self):
        self.path, self.found = None, []
        sys.addaudithook(self._record)

    def _record(self, event, arguments):
        if self.path is None or event not in self.EVENTS:
            return
        if event == "open" and (
            arguments[0] == self.path or isinstance(arguments[0], int)
        ):
            return
        if event in ("exec", "compile") and "generated" in repr(arguments):
            return
        self.found.append((event, repr(arguments)[:100]))

    @contextlib.contextmanager
    def of(self, path):
        self.path, self.found = path, []
        try:
            yield
        finally:
            self.path = None


def load(path):
    """Returns the model, or the message of a `ModelFileError`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return textgen.load(path)
        except textgen.ModelFileError as error:
            return str(error)


def signature(model):
    """Returns the configuration and the arrays of a model, to compare two models."""
    arrays = keras_internals.saved_state(model)
    return (
        without_ids(keras_internals.serialized(model)),
        {name: (str(v.dtype), v.shape, v.tobytes()) for name, v in arrays.items()},
    )


def without_ids(value):
    """A JSON value without what differs from one object to the next."""
    if isinstance(value, dict):
        return {
            name: without_ids(each)
            for name, each in value.items()
            if name not in ("shared_object_id", "module")
        }
    if isinstance(value, list | tuple):
        return [without_ids(each) for each in value]
    return value


def is_described(given, found):
    """Whether every field of a configuration is that of the loaded model."""
    if isinstance(given, dict) and isinstance(found, dict):
        return all(
            name in found and is_described(each, found[name])
            for name, each in given.items()
        )
    if isinstance(given, list) and isinstance(found, list):
        return len(given) == len(found) and all(map(is_described, given, found))
    if isinstance(given, bool) or isinstance(found, bool):
        return given is found
    return given == found or (given != given and found != found)


def verdict(data, result, path, same, any_values=False):
    """Returns `None`, or what is wrong with the result of loading a file.

    Args:
        data: bytes. The file.
        result: Result of `load`.
        path: Path of the file.
        same: `signature` of the undamaged model.
        any_values: bool. Whether the arrays may have other finite values.
    """
    if isinstance(result, str):
        if not result.startswith(f"{path}: ") or len(result) > 300:
            return f"bad message: {result!r}"
        if not result.isprintable() or result.endswith((": ", ": None")):
            return f"bad message: {result!r}"
        return None
    config, arrays = signature(result)
    if not result.compiled:
        # Unknown code of a user in the loss, say: it loads with a warning, without its
        # optimizer.
        same = same[0], {k: v for k, v in same[1].items() if "optimizer" not in k}
    if config == same[0] and arrays == same[1]:
        return None
    given = without_ids(Parts(data).config)
    given.pop("compile_config", None) if not result.compiled else None
    if not is_described(given, config):
        return "the model is not the one of the file"
    if config == same[0] and any_values:
        return None
    if arrays == same[1]:
        return None
    return "the arrays are others"


MOST = 3000  # of a family for each model; the largest has 15,000 wrong values
SAMPLE = {
    **{"references": 12, "values": 35, "flips": 12, "HDF5 flips": 5, "archives": 10},
    **{"truncations": 4, "HDF5": 16, "old flips": 3},
}


def cases_of(parts, data, all_cases):
    """Yields `(family, name, bytes)` for one model: all cases, or a sample."""
    families = {
        "references": references(parts),
        "values": values(parts),
        "flips": flips(data, 400),
        "HDF5 flips": structural_flips(parts, 200),
        "truncations": truncations(data),
        "archives": archives(parts),
        "HDF5": hdf5_cases(parts),
        "old flips": flips(parts.as_old().pack(), 100),
    }
    for family, cases in families.items():
        cases = list(cases)
        count = MOST if all_cases else SAMPLE[family]
        if len(cases) > count:
            random = np.random.default_rng(len(cases))
            chosen = random.choice(len(cases), count, replace=False)
            cases = [cases[index] for index in sorted(chosen)]
        for name, make in cases:
            yield family, name, make()


def run(names, all_cases=False, folder=None):
    """Loads the cases of models; returns counts and failures.

    Args:
        names: Names in `MODELS`.
        all_cases: bool. All cases, or a sample.
        folder: Path of an empty folder, or `None` for a temporary one.
    """
    counts, failures, slowest = collections.Counter(), [], (0.0, "")
    watch = Watch()
    with contextlib.ExitStack() as stack:
        folder = folder or stack.enter_context(tempfile.TemporaryDirectory())
        path = os.path.join(folder, "model.keras")
        for kind in names:
            keras.utils.set_random_seed(0)
            data = saved(MODELS[kind]())
            Path(path).write_bytes(data)
            same = signature(load(path))
            for family, name, case in cases_of(Parts(data), data, all_cases):
                Path(path).write_bytes(case)
                if all_cases and sum(counts.values()) % 500 == 0:
                    print(
                        f"{sum(counts.values()):,} files", file=sys.stderr, flush=True
                    )
                start = time.perf_counter()
                try:
                    with watch.of(path):
                        result = load(path)
                except Exception as error:
                    failures.append((kind, family, name, f"{type(error)}: {error}"))
                    counts[family, "error"] += 1
                    continue
                seconds = time.perf_counter() - start
                slowest = max(slowest, (seconds, f"{kind}, {family}: {name}"))
                wrong = verdict(
                    case, result, path, same, family in ("HDF5 flips", "old flips")
                )
                if watch.found:
                    wrong = f"it did {watch.found[:3]}"
                if wrong:
                    failures.append((kind, family, name, wrong))
                refused = isinstance(result, str)
                counts[family, "refused" if refused else "loaded"] += 1
                if os.listdir(folder) != ["model.keras"]:
                    failures.append((kind, family, name, os.listdir(folder)))
    return counts, failures, slowest


def measure():
    """Returns seconds and the growth of the memory, in bytes, for `sizes`."""
    data = saved(small_model())
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        files = {}
        for name, case in sizes(Parts(data)).items():
            files[name] = os.path.join(folder, f"{len(files)}.keras")
            Path(files[name]).write_bytes(case)
        Path(path).write_bytes(data)
        load(path)
        del case
        for name, each in files.items():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            start = time.perf_counter()
            result = load(each)
            seconds = time.perf_counter() - start
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            found[name] = {
                "seconds": seconds,
                "growth": (after - before) * 1024,
                "size": os.path.getsize(each),
                "result": result if isinstance(result, str) else "loaded",
            }
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="17,000 files, some minutes")
    parser.add_argument("--unsafe", action="store_true", help="set Keras's unsafe mode")
    parser.add_argument("--sizes", action="store_true", help="only memory; prints JSON")
    arguments = parser.parse_args()
    if arguments.unsafe:
        keras.config.enable_unsafe_deserialization()
    if arguments.sizes:
        print(json.dumps(measure()))
        return 0
    counts, failures, slowest = run(MODELS, arguments.all)
    for (family, result), count in sorted(counts.items()):
        print(f"{family}: {count:,} {result}")
    print(f"{sum(counts.values()):,} files; the slowest took {slowest}")
    for failure in failures:
        print(*failure, sep=" | ")
    print(f"{len(failures)} failures")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
