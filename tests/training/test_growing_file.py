import errno
import warnings

import pytest

from textgen import files
from textgen.training.growing_file import GrowingFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.txt"


def test_lines(path):
    path.write_bytes("a\r\n\u8a69\nhalf".encode())
    file = GrowingFile(path, "log")
    assert file.read() == ["a", "\u8a69"]
    file.replace(["b"])
    file.append(["c\ud800", "d"])
    assert path.read_bytes() == b"b\nc\\ud800\nd\n"


@pytest.mark.parametrize("content", [None, b"\xff\n"])
def test_no_text_file_has_no_lines(path, content):
    if content is not None:
        path.write_bytes(content)
    assert GrowingFile(path, "log").read() == []


def test_a_line_after_a_full_disk_begins_a_new_line(path, monkeypatch):
    def fail(path, text):
        path.write_text("a\nb\nha")
        raise OSError(errno.ENOSPC, "No space left on device")

    file = GrowingFile(path, "log")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with monkeypatch.context() as patch:
            patch.setattr(files, "write_text", fail)
            file.replace(["a", "b", "half"])
            file.append(["c"])
        file.append(["d"])
        file.append(["e"])
    assert path.read_text() == "a\nb\nd\ne\n"
    [warning] = caught
    assert str(warning.message) == (
        f"The log {path} cannot be written (No space left on device); the training "
        "continues."
    )
