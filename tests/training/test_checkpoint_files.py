"""The folder of the checkpoints."""

import shutil
from pathlib import Path

import pytest

from textgen import Checkpoints, files
from textgen.training.checkpoint_files import Folder


class Model:
    """Writes a text instead of a model."""

    def write(self, path, training, arrays):
        files.write_text(path, training)


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_second_object_on_a_folder_is_refused(tmp_path):
    first, second = Folder(tmp_path / "a", 2), Folder(tmp_path / "a", 2)
    first.prepare(1)
    first.in_use = True
    with pytest.raises(BlockingIOError, match=r"a is in use by another run"):
        second.prepare(1)
    with pytest.raises(BlockingIOError, match="in use"):
        Checkpoints(tmp_path / "a")
    with pytest.raises(BlockingIOError, match="in use"):
        Checkpoints(tmp_path / "a", resume=True)
    first.in_use = False
    first.write(1, Model(), "state", {})
    first.release()
    assert names(tmp_path / "a") == {"step-000000001.keras"}
    second.prepare(1)


def test_object_that_does_not_train_gives_its_lock_away(tmp_path):
    first, second = Folder(tmp_path, 2), Folder(tmp_path, 2)
    first.lock()
    second.lock()
    second.write(1, Model(), "state", {})
    with pytest.raises(ValueError, match="Another training has written to"):
        first.prepare(1)
    second.release()
    with pytest.raises(ValueError, match="Another training has written to"):
        first.prepare(1)


def test_lock_ends_with_the_object(tmp_path):
    folder = Folder(tmp_path, 2)
    folder.lock()
    assert names(tmp_path) == {".lock"}
    del folder
    assert names(tmp_path) == set()


def test_files_of_killed_processes_are_removed(tmp_path):
    abandoned = [
        ".step-000000012.keras.0123456789abcdef.tmp",
        ".best.keras.fedcba9876543210.tmp",
    ]
    others = [".step-000000012.keras.tmp", "notes.txt", ".best.keras.0123.tmp"]
    for name in (*abandoned, *others):
        (tmp_path / name).touch()
    folder = Folder(tmp_path, 2)
    folder.prepare(1)
    folder.release()
    assert names(tmp_path) == set(others)


def test_newest_states_are_kept(tmp_path):
    folder = Folder(tmp_path, 3)
    for number in (5, 1_000_000_005, 10, 15, 20, 25):
        (tmp_path / f"step-{number:09}.keras").touch()
    folder.prepare(1)
    # 1,000,000,005 is damaged, or the training would have continued from there.
    folder.write(25, Model(), "state", {})
    folder.release()
    assert names(tmp_path) == {f"step-{number:09}.keras" for number in (15, 20, 25)}
    assert next(path.name for path in folder.states()) == "step-000000025.keras"


@pytest.mark.parametrize("stop", ["best", "state", "removal", None])
def test_replaced_training_is_kept_until_the_new_one_has_a_state(
    stop, tmp_path, monkeypatch
):
    """A kill after any of the operations leaves one complete training."""

    def write(path, training, arrays):
        if path.name.startswith(stop or "-"):
            raise KeyboardInterrupt
        files.write_text(path, training)

    for name in ("step-000000050.keras", "best.keras", "last.keras"):
        (tmp_path / name).write_text("old")
    folder = Folder(tmp_path, 2)
    folder.replaces = True
    folder.prepare(1)
    model = Model()
    model.write = write
    if stop == "state":
        stop = "step"
    unlink = Path.unlink

    def interrupt(path, missing_ok=False):
        if path.name.endswith(".keras"):
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    if stop == "removal":
        monkeypatch.setattr(Path, "unlink", interrupt)
    try:
        folder.write_best(model, "new", {})
        folder.write(3, model, "new", {})
    except KeyboardInterrupt:
        pass
    monkeypatch.undo()
    folder.release()
    read = []
    monkeypatch.setattr(
        "textgen.model_file.read_training",
        lambda path: (read.append(path.name), {}),
    )
    path, _, _ = Folder(tmp_path, 2).read_newest()
    new = stop in ("removal", None)
    assert path.name == f"step-{3 if new else 50:09}.keras"
    assert (
        path.read_text()
        == (tmp_path / "best.keras").read_text()
        == ("new" if new else "old")
    )
    if stop is None:
        assert names(tmp_path) == {"best.keras", "step-000000003.keras"}


def test_full_disk_is_found_before_the_training(tmp_path, monkeypatch):
    folder = Folder(tmp_path, 2)
    (tmp_path / "step-000000001.keras").write_bytes(bytes(10**6))

    def free(_):
        return shutil._ntuple_diskusage(10**9, 0, 3 * 10**6)

    monkeypatch.setattr(shutil, "disk_usage", free)
    folder.prepare(10**6)
    folder.release()
    with pytest.raises(OSError, match=r"need 7 MB, and the disk has 3 MB free.*keep"):
        folder.prepare(2 * 10**6)


def test_folder_that_cannot_be_written_is_found_before_the_training(
    tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot be written to .*: Not a directory"):
        Folder(tmp_path / "file" / "a", 2).prepare(1)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(PermissionError, match="it is read-only"):
        Folder(tmp_path / "a", 2).prepare(1)


def test_folder_without_states_is_removed(tmp_path):
    folder = Folder(tmp_path / "a", 2)
    folder.prepare(1)
    folder.release()
    assert not (tmp_path / "a").exists()
