"""The file of a model: configuration, metadata and weights, each with a checksum.

A `.keras` file is a zip of three members: `config.json`, `metadata.json`, and
`model.weights.h5`. textgen adds its version and SHA-256 checksums to the metadata.
Files that Keras or an older version wrote have none.
"""

import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from textgen import files, hdf5
from textgen.messages import printable

METADATA, CONFIG, WEIGHTS = "metadata.json", "config.json", "model.weights.h5"
_MEMBERS = (METADATA, CONFIG, WEIGHTS)
_GROUP = "training"  # the group of the arrays of a training, and the metadata of it

# Limits of `read`.
WEIGHT_BYTES = 1 << 32
CONFIG_BYTES = 1 << 25
_MAXIMUM_OBJECTS = 200_000
_MAXIMUM_VALUES = 3_000_000


class ModelFileError(ValueError):
    """A model file is damaged, is not a model of textgen, or could do harm.

    The message is one line of at most 300 characters: the file and the cause.
    """


@contextlib.contextmanager
def refusing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Converts the errors of its `with` block to a `ModelFileError` with the path.

    A file that does not exist or that must not be read keeps its own error.
    """
    try:
        yield
    except (ModelFileError, FileNotFoundError, PermissionError):
        raise
    except MemoryError as error:
        raise _refusal(path, "it needs more memory than there is") from error
    except RecursionError as error:
        raise _refusal(path, "its configuration is nested too deeply") from error
    except ValueError as error:
        raise _refusal(path, str(error)) from error
    except Exception as error:
        # Libraries have many types of errors for a damaged file.
        raise _refusal(
            path, f"it is damaged ({type(error).__name__}: {error})"
        ) from error


def _refusal(path: str | os.PathLike[str], cause: str) -> ModelFileError:
    name = printable(os.fspath(path), 10_000)
    if len(name) > 100:
        name = f"…{name[-99:]}"
    return ModelFileError(f"{name}: {printable(cause, 190)}")


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a model file contains; the values of the arrays have not been read.

    Args:
        metadata: dict. JSON values.
        config: dict. Serialized Keras object.
        arrays: dict of path and `hdf5.Stored`. Weights and states.
        groups: set of str. Paths of the HDF5 groups.
        training_arrays: dict of path and `hdf5.Stored`. Arrays of a training.
        data: bytes. The HDF5 file that contains the arrays.
    """

    metadata: dict[str, Any]
    config: dict[str, Any]
    arrays: dict[str, hdf5.Stored]
    groups: set[str]
    training_arrays: dict[str, hdf5.Stored]
    data: bytes


def write(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    arrays: Mapping[str, Any],
    metadata: Mapping[str, Any],
    training: Any = None,
    training_arrays: Mapping[str, Any] | None = None,
) -> None:
    """Writes a model file in one step, see `textgen.files.replacing`.

    Args:
        path: str or path. Its folder must exist.
        config: Serialized Keras object: JSON values.
        arrays: Mapping of path in the HDF5 file, and array.
        metadata: JSON values, such as versions.
        training: JSON value or `None`. State of a training; `read_training` reads it.
        training_arrays: Mapping of name and array, or `None`. Arrays of the state.

    Raises:
        OSError: The file cannot be written. The old file is unchanged.
        ValueError: There are arrays of a training, but no `training`.
    """
    if training_arrays and training is None:
        raise ValueError("training_arrays needs training: a JSON value, such as {}.")
    parts = {CONFIG: json.dumps(config).encode()}
    named = {f"{_GROUP}/{name}": each for name, each in (training_arrays or {}).items()}
    parts[WEIGHTS] = hdf5.write({**arrays, **named})
    checksums = {name: _sha256(part) for name, part in parts.items()}
    now = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    metadata = {**metadata, "date_saved": now, "sha256": checksums}
    if training is not None:
        metadata["training"] = training
        checksums["training"] = _sha256_of_json(training)
    parts[METADATA] = json.dumps(metadata).encode()
    with files.replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name in _MEMBERS:
            # With a fixed date, equal models are equal files.
            archive.writestr(zipfile.ZipInfo(name), parts[name])


def read(
    path: str | os.PathLike[str],
    weight_bytes: int = WEIGHT_BYTES,
    config_bytes: int = CONFIG_BYTES,
) -> Contents:
    """Reads a model file, and compares its checksums; it does not check the model.

    Sizes are checked before anything is read, and nothing is unpacked to the disk.

    Args:
        path: str or path.
        weight_bytes: int. Maximum size of the weights. Defaults to 4 GiB.
        config_bytes: int. Maximum size of configuration and of metadata. Defaults to
            32 MiB.

    Raises:
        FileNotFoundError: The file does not exist.
        ModelFileError: The file is not a model file, is damaged, or is too large.
    """
    with refusing(path), files.open_regular(path) as file:
        limits = {METADATA: config_bytes, CONFIG: config_bytes, WEIGHTS: weight_bytes}
        parts = _members(file, limits)
        metadata = _parse(parts[METADATA], METADATA)
        config = _parse(parts[CONFIG], CONFIG)
        _check_sums(metadata, parts)
        arrays, groups = hdf5.read(parts[WEIGHTS])
        training_arrays = {
            name.removeprefix(f"{_GROUP}/"): arrays.pop(name)
            for name in list(arrays)
            if name.startswith(f"{_GROUP}/")
        }
        training_groups = {
            name for name in groups if name.split("/", maxsplit=1)[0] == _GROUP
        }
        if _GROUP not in metadata and (training_arrays or training_groups):
            raise ValueError("it has arrays of a training, but no state of it")
        return Contents(
            metadata,
            config,
            arrays,
            groups - training_groups,
            training_arrays,
            parts[WEIGHTS],
        )


def read_training(
    path: str | os.PathLike[str],
    weight_bytes: int = WEIGHT_BYTES,
    config_bytes: int = CONFIG_BYTES,
) -> tuple[Any, dict[str, np.ndarray]]:
    """Reads the state of a training, and verifies the checksums of the complete file.

    Args:
        path: str or path.
        weight_bytes: As for `read`.
        config_bytes: As for `read`.

    Returns:
        `training` and `training_arrays` as given to `write`.

    Raises:
        FileNotFoundError: The file does not exist.
        ModelFileError: The file is damaged, or contains no state of a training.
    """
    contents = read(path, weight_bytes, config_bytes)
    if _GROUP not in contents.metadata:
        raise _refusal(path, "it contains no state of a training")
    return contents.metadata[_GROUP], {
        name: stored.value(contents.data)
        for name, stored in contents.training_arrays.items()
    }


# === Zip ===


def _members(file: BinaryIO, limits: Mapping[str, int]) -> dict[str, bytes]:
    """Returns the three members; sizes are checked before anything is read."""
    length = file.seek(0, os.SEEK_END)
    _check_directory(file, length)
    try:
        archive = zipfile.ZipFile(file)
        names = [info.filename for info in archive.infolist()]
        members = dict(zip(names, archive.infolist(), strict=True))
    except (NotImplementedError, zipfile.BadZipFile) as error:
        raise ValueError(_NO_ZIP) from error
    if sorted(names) != sorted(_MEMBERS):
        raise ValueError(
            f"it contains {', '.join(map(repr, names))}; a model has exactly "
            f"{', '.join(_MEMBERS)}"
        )
    for name, info in members.items():
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x1:
            raise ValueError(f"{name} is compressed or encrypted")
        if info.file_size != info.compress_size:
            raise ValueError(f"{name} has two different sizes")
        if info.file_size > limits[name]:
            raise ValueError(
                f"{name} has {info.file_size:,} bytes, more than the limit of "
                f"{limits[name]:,}; textgen.load has an argument for it"
            )
    if sum(info.file_size for info in members.values()) > length:
        raise ValueError(_NO_ZIP)
    try:
        return {name: archive.read(name) for name in _MEMBERS}
    except (EOFError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ValueError(f"it is damaged: {error}") from error


_NO_ZIP = (
    "it is not a .keras file, or it is damaged: it must be a file that model.save wrote"
)


def _check_directory(file: BinaryIO, length: int) -> None:
    """Raises ValueError unless the zip has three entries, without a comment.

    `zipfile` reads the complete list of entries into the memory.
    """
    file.seek(max(0, length - 98))
    end = file.read(98)
    file.seek(0)
    if len(end) < 98 or end[-22:-18] != b"PK\5\6" or end[-2:] != b"\0\0":
        raise ValueError(_NO_ZIP)
    counts = [struct.unpack("<HL", end[-12:-6])]
    if end[-42:-38] == b"PK\6\7":  # an additional record with sizes of 64 bits
        counts.append(struct.unpack("<QQ", end[-66:-50]))
    for entries, size in counts:
        if entries != len(_MEMBERS):
            raise ValueError(f"it is a zip of {entries:,} members instead of 3")
        if size > 1 << 12:
            raise ValueError("its list of members is too long")


# === JSON ===


def _parse(data: bytes, name: str) -> dict[str, Any]:
    """Parses JSON that contains no key twice and is not too large."""
    counts = [data.count(mark) for mark in (b"{", b"[", b",")]
    if sum(counts[:2]) > _MAXIMUM_OBJECTS or counts[2] > _MAXIMUM_VALUES:
        raise ValueError(f"{name} has too many values")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_without_repetition)
    except ValueError as error:
        raise ValueError(f"{name} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{name} is a {type(value).__name__}, not an object")
    return value


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} occurs twice")
    return found


# === Checksums ===


def _check_sums(metadata: Mapping[str, Any], parts: Mapping[str, bytes]) -> None:
    """Raises ValueError if a checksum is wrong or missing.

    Files of Keras and of older versions of textgen have no checksums, and no version of
    textgen.
    """
    if not {"textgen_version", "sha256", _GROUP} & set(metadata):
        return
    found = {name: _sha256(parts[name]) for name in (CONFIG, WEIGHTS)}
    if _GROUP in metadata:
        found[_GROUP] = _sha256_of_json(metadata[_GROUP])
    stored = metadata.get("sha256")
    if not isinstance(stored, dict) or set(stored) != set(found):
        raise ValueError(f"{METADATA} must contain the checksums of {', '.join(found)}")
    for name, checksum in found.items():
        if stored[name] != checksum:
            raise ValueError(f"it is damaged: the SHA-256 of {name} is wrong")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha256_of_json(value: Any) -> str:
    return _sha256(json.dumps(value, sort_keys=True).encode())
