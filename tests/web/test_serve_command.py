"""`textgen serve`, without a server: what it checks, prints and passes on."""

import contextlib
import socket
import sys

import pytest
from command_line import run
from small_models import shared

import textgen.web
from textgen import PRETRAINED
from textgen.web import server


@pytest.fixture
def served(monkeypatch):
    """What `server.run` was called with; it tells that it has started."""
    calls = []

    def record(listening, models, limits, hosts, started):
        with contextlib.closing(listening):
            started()
        calls.append((models, limits, hosts))

    monkeypatch.setattr(server, "run", record)
    return calls


@pytest.fixture
def path(tmp_path):
    shared("state").save(tmp_path / "poems.keras")
    return tmp_path / "poems.keras"


def test_all_pretrained_models_are_served_on_loopback(served, capsys):
    assert run("serve", "--port", 0) == 0
    output = capsys.readouterr()
    start, _, port = output.out.rpartition(":")
    assert start == f"Serving {len(PRETRAINED)} models at http://127.0.0.1"
    assert int(port.split()[0]) > 0
    assert port.endswith(" (Ctrl-C stops)\n")
    assert output.err == ""
    [(models, limits, hosts)] = served
    assert models == {name: name for name in PRETRAINED}
    assert next(iter(models)) == "tinyshakespeare"  # the default model
    assert hosts == ["127.0.0.1"]
    assert (limits.max_new_tokens, limits.parallel) == (2000, 64)


def test_models_and_limits_are_passed_on(served, path, capsys):
    options = ["--max-new-tokens", 5, "--max-characters", 6, "--max-body-bytes", 7]
    options += ["--parallel", 8, "--waiting", 0, "--allow-host", "a.example", "b"]
    assert run("serve", path, "tinyshakespeare", "--port", 0, *options) == 0
    assert "Serving 2 models" in capsys.readouterr().out
    [(models, limits, hosts)] = served
    assert list(models) == ["poems", "tinyshakespeare"]
    assert models["poems"].generate("a", 9, seed=1) == shared("state").generate(
        "a", 9, seed=1
    )
    assert models["tinyshakespeare"] == "tinyshakespeare"
    assert (limits.max_new_tokens, limits.max_characters) == (5, 6)
    assert (limits.body_bytes, limits.parallel, limits.waiting) == (7, 8, 0)
    assert hosts == ["127.0.0.1", "a.example", "b"]


def test_other_addresses_are_told(served, capsys):
    assert run("serve", "dinosaurs", "--host", "0.0.0.0", "--port", 0) == 0
    output = capsys.readouterr()
    assert "Serving 1 model at http://127.0.0.1:" in output.out
    [line] = output.err.splitlines()
    assert line.startswith("textgen serve: warning: anyone who reaches 0.0.0.0")
    assert line.endswith("there is no password.")


def test_browser_is_opened_with_the_address(served, monkeypatch, capsys):
    import threading
    import webbrowser

    opened, done = [], threading.Event()
    monkeypatch.setattr(
        webbrowser, "open", lambda url: (opened.append(url), done.set())
    )
    assert run("serve", "dinosaurs", "--port", 0, "--open") == 0
    assert done.wait(10)
    assert f" {opened[0]} " in capsys.readouterr().out


def failure(capsys, *arguments):
    assert run("serve", *arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("textgen serve: error: ")
    return line


def test_port_in_use(served, capsys):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        message = failure(capsys, "--port", port)
    assert f"127.0.0.1 port {port}: " in message
    assert "give another --port" in message
    assert served == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.keras"], "none.keras"),
        (["tinyshakespear"], "tinyshakespeare"),
        (["dinosaurs", "dinosaurs"], "Two models are called dinosaurs"),
        (["--port", "65536"], "--port 65536 must be at most 65535"),
        (["--port", "-1"], "--port -1 must be at least 0"),
        (["--parallel", "0"], "--parallel 0 must be at least 1"),
        (["--max-new-tokens", "0"], "--max-new-tokens 0 must be at least 1"),
        (["--max-body-bytes", "0"], "--max-body-bytes 0 must be at least 1"),
        (["--host", "256.1.1.1"], "--host 256.1.1.1 is not an address"),
        (["--host", "203.0.113.9"], "203.0.113.9 port 8000: "),
    ],
)
def test_wrong_arguments(served, capsys, arguments, message):
    assert message in failure(capsys, *arguments)
    assert served == []


def test_damaged_files_are_told_before_the_server_starts(served, capsys, tmp_path):
    (tmp_path / "bad.keras").write_bytes(b"no model")
    assert "bad.keras" in failure(capsys, tmp_path / "bad.keras", "--port", 0)
    assert served == []


def test_names_of_files_are_different(served, capsys, path, tmp_path):
    (tmp_path / "other").mkdir()
    other = path.rename(tmp_path / "other" / "poems.keras")
    path.write_bytes(other.read_bytes())
    assert "Two models are called poems" in failure(capsys, path, other)


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn"])
def test_missing_extra(monkeypatch, capsys, missing):
    for name in [*sys.modules]:
        if name.startswith("textgen.web."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(textgen.web, "server")
    monkeypatch.setitem(sys.modules, missing, None)
    message = failure(capsys, "--port", 0)
    assert message.endswith(f"needs {missing}: pip install 'keras-textgen[web]'")


def test_ctrl_c(monkeypatch):
    def interrupted(listening, *_):
        listening.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "run", interrupted)
    assert run("serve", "dinosaurs", "--port", 0) == 130
