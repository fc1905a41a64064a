import errno
import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from textgen import files


def replace(path, data=b"new"):
    with files.replacing(path) as file:
        file.write(data)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# === Writing ===


def test_file_is_replaced_when_the_block_ends(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with files.replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_error_leaves_the_old_file_only(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), files.replacing(path) as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_full_disk_leaves_the_old_file_and_names_it(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "file"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"file cannot be written: .*unchanged") as e:
            replace(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert e.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_data_and_folder_are_flushed_before_and_after_the_rename(tmp_path, monkeypatch):
    steps = []
    fsync, rename = os.fsync, os.replace

    def spy_fsync(handle):
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        steps.append("folder" if is_folder else f"{os.fstat(handle).st_size} bytes")
        fsync(handle)

    def spy_rename(old, new):
        steps.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_rename)
    replace(tmp_path / "file", b"12345")
    assert steps == ["5 bytes", "rename", "folder"]


def test_permissions_are_kept(tmp_path):
    old, new, plain = (tmp_path / name for name in ("old", "new", "plain"))
    old.write_bytes(b"secret")
    os.chmod(old, 0o600)
    plain.write_bytes(b"")  # with the permissions that the umask allows
    with files.replacing(old) as file:
        [temporary] = tmp_path.glob(".old.*.tmp")
        assert mode(temporary) == 0o600
        file.write(b"new")
    replace(new)
    assert mode(old) == 0o600
    assert mode(new) == mode(plain)


def test_symbolic_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "file", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    replace(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_planted_link_is_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_bytes(b"valuable")
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "0" * 2 * n)
    (tmp_path / f".file.{'0' * 16}.tmp").symlink_to(victim)
    replace(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert victim.read_bytes() == b"valuable"


def test_abandoned_files_are_removed_and_those_of_living_writers_are_not(tmp_path):
    pytest.importorskip("fcntl")
    abandoned = tmp_path / ".file.0123456789abcdef.tmp"
    others = [tmp_path / ".file.tmp", tmp_path / ".file.keras.0123456789abcdef.tmp"]
    for path in (abandoned, *others):
        path.write_bytes(b"half")
    with files.replacing(tmp_path / "file") as slow:
        slow.write(b"first")
        replace(tmp_path / "file", b"second")
        assert not abandoned.exists()
        assert len(list(tmp_path.glob(".file.*.tmp"))) == 2
    assert (tmp_path / "file").read_bytes() == b"first"
    assert all(path.exists() for path in others)


def test_concurrent_writers_leave_one_complete_file(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([65 + number]) * 50_000 for number in range(8)]
    threads = [
        threading.Thread(target=lambda data=data: [replace(path, data) for _ in "1234"])
        for data in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert os.listdir(tmp_path) == ["file"]


def test_what_is_not_a_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"pipe cannot be written: it is a device or"):
        replace(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError, match=r"cannot be written: it is a folder"):
        replace(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"missing.file cannot be written"):
        replace(tmp_path / "missing" / "file")


def test_read_only_file_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chmod(path, 0o444)
    # For root, every file is writable.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=r"it is read-only"):
        replace(path)
    assert path.read_bytes() == b"old"


def test_text_is_utf_8(tmp_path):
    files.write_text(tmp_path / "file", "\u674e\u767d\n")
    assert (tmp_path / "file").read_bytes() == b"\xe6\x9d\x8e\xe7\x99\xbd\n"


# === Opening ===


def test_regular_file_is_opened(tmp_path):
    (tmp_path / "file").write_bytes(b"data")
    with files.open_regular(tmp_path / "file") as file:
        assert file.read() == b"data"


def test_pipes_devices_and_folders_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(OSError, match=r"is a device or a named pipe; it must be"):
            files.open_regular(path)
    with pytest.raises(OSError, match=r"is a folder; it must be a regular file"):
        files.open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.open_regular(tmp_path / "missing")


# === Locking ===


def test_second_lock_is_refused_until_the_first_is_released(tmp_path):
    pytest.importorskip("fcntl")
    path = tmp_path / ".lock"
    with files.Lock(path, "The folder x"):
        message = rf"^The folder x is in use by another run \(process {os.getpid()}\)"
        with pytest.raises(BlockingIOError, match=message):
            files.Lock(path, "The folder x")
    assert not path.exists()
    files.Lock(path, "The folder x").release()


def test_lock_of_a_killed_process_does_not_block(tmp_path):
    pytest.importorskip("fcntl")
    path = tmp_path / ".lock"
    code = (
        "import sys, time\nfrom textgen import files\n"
        "lock = files.Lock(sys.argv[1], 'x')\nprint('locked', flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(BlockingIOError, match=rf"process {process.pid}\)"):
            files.Lock(path, "The folder x")
        process.kill()
    assert path.exists()
    files.Lock(path, "The folder x").release()
