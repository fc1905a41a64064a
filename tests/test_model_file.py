"""The model file: what `write` wrote, `read` reads, and nothing else."""

import json
import os
import zipfile

import numpy as np
import pytest

from textgen import model_file
from textgen.model_file import ModelFileError

CONFIG = {"class_name": "Model", "config": {"size": 3}}
ARRAYS = {"vars/0": np.arange(4, dtype=np.float32)}
TRAINING = {"step": 3, "losses": [1.5, 1e-7, None], "text": "é"}
STATE = {"average/0": np.ones((2, 2)), "position": np.int64(5)}


@pytest.fixture
def path(tmp_path):
    model_file.write(
        tmp_path / "a.keras", CONFIG, ARRAYS, {"version": "1"}, TRAINING, STATE
    )
    return tmp_path / "a.keras"


def repack(path, **changes):
    """Writes the zip again, with changed members and right checksums of the zip."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for name, change in changes.items():
        name = {"metadata": "metadata.json", "config": "config.json"}[name]
        value = change(json.loads(parts[name]))
        parts[name] = value if isinstance(value, bytes) else json.dumps(value).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)


def test_contents(path):
    contents = model_file.read(path)
    assert contents.config == CONFIG
    assert contents.metadata["version"] == "1"
    [(name, stored)] = contents.arrays.items()
    assert name == "vars/0"
    np.testing.assert_array_equal(stored.value(contents.data), ARRAYS["vars/0"])
    assert contents.groups == {"vars"}
    assert set(contents.training_arrays) == set(STATE)
    assert os.listdir(path.parent) == ["a.keras"]


def test_training(path):
    training, arrays = model_file.read_training(path)
    assert training == TRAINING
    for name, value in STATE.items():
        np.testing.assert_array_equal(arrays[name], value)
        arrays[name][...] = 0  # it can be changed


def test_without_a_training(path):
    model_file.write(path, CONFIG, ARRAYS, {})
    assert model_file.read(path).training_arrays == {}
    with pytest.raises(ModelFileError, match="no state of a training"):
        model_file.read_training(path)
    model_file.write(path, CONFIG, {**ARRAYS, "training/x": np.ones(1)}, {})
    with pytest.raises(ModelFileError, match="arrays of a training, but no state"):
        model_file.read(path)


def test_every_flip_is_seen(path):
    """Also those after which the checksum of the zip is right."""
    data, same = path.read_bytes(), 0
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        try:
            contents = model_file.read(path)
        except ModelFileError as error:
            message = str(error)
            assert message.startswith(f"{path}: ") and "\n" not in message
            continue
        same += 1  # in the dates of the zip, for example
        assert (contents.config, contents.data) == (CONFIG, model_file.read(path).data)
        assert model_file.read_training(path)[0] == TRAINING
    assert same < len(data) / 7 / 20


def without(name):
    return lambda metadata: {k: v for k, v in metadata.items() if k != name}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": lambda c: {**c, "x": 1}}, "SHA-256 of config.json"),
        ({"metadata": lambda m: {**m, "training": {"step": 4}}}, "SHA-256 of training"),
        ({"metadata": without("sha256")}, "must contain the checksums"),
        ({"metadata": without("training")}, "must contain the checksums"),
        ({"metadata": lambda m: {**m, "sha256": 5}}, "must contain the checksums"),
        ({"config": lambda c: [1]}, "is a list, not an object"),
        ({"config": lambda c: b'{"a": 1, "a": 2}'}, "'a' occurs twice"),
        ({"config": lambda c: b"{"}, "config.json is damaged"),
        ({"config": lambda c: b'{"a": "\xff"}'}, "config.json is damaged"),
        ({"config": lambda c: b"[" * 10**5}, "nested too deeply"),
        ({"config": lambda c: b"[" * 10**6}, "too many values"),
    ],
)
def test_changed_members(path, changes, message):
    repack(path, **changes)
    with pytest.raises(ModelFileError, match=message):
        model_file.read(path)


def test_limits(path):
    with pytest.raises(ModelFileError, match=r"model.weights.h5 has .* limit of 100;"):
        model_file.read(path, weight_bytes=100)
    with pytest.raises(ModelFileError, match=r"metadata.json has .* the limit of 10;"):
        model_file.read(path, config_bytes=10)


def test_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name, message in (
        ("pipe", "a device or a named pipe"),
        ("link", "a device or a named pipe"),
        ("", "a folder"),
    ):
        with pytest.raises(ModelFileError, match=message):
            model_file.read(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        model_file.read(tmp_path / "absent")


def test_messages_are_short_lines(tmp_path):
    path = tmp_path / ("x" * 200)
    path.write_text("text")
    with pytest.raises(ModelFileError, match=r"not a \.keras file") as error:
        model_file.read(path)
    assert len(str(error.value)) <= 300
    with pytest.raises(ModelFileError) as error, model_file.refusing("a\nb\x1b[31m"):
        raise ValueError("red: \x1b[31m\n" + "x" * 1000)
    assert str(error.value).startswith(r"a b\x1b[31m: red: \x1b[31m xxx")
    assert str(error.value).isprintable() and len(str(error.value)) <= 300
    with (
        pytest.raises(ModelFileError, match=r"KeyError: 'x'"),
        model_file.refusing("a"),
    ):
        {}["x"]


def test_failed_write_keeps_the_old_file(path):
    before = path.read_bytes()
    with pytest.raises(TypeError):
        model_file.write(path, {"x": object()}, ARRAYS, {})
    assert path.read_bytes() == before
