import argparse
import signal

import pytest

from textgen.cli import launch
from textgen.cli.main import main
from textgen.place import VARIABLES, Place

# What each process does, in place of a training.
WORKER = """
import os, signal, sys, time
place = os.environ["TEXTGEN_PROCESS_ID"]
print("output of", place, os.environ["TEXTGEN_PROCESSES"], os.environ["KERAS_BACKEND"])
print("message of", place, sys.argv[1:], file=sys.stderr)
"""


CHECK_JAX = launch.check_jax


@pytest.fixture(autouse=True)
def no_scheduler(monkeypatch):
    monkeypatch.setattr(launch, "check_jax", lambda what: None)
    for name in [*VARIABLES.values(), "SLURM_PROCID", "JOB_COMPLETION_INDEX"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)


@pytest.fixture
def start(monkeypatch, tmp_path, capfd):
    """A function `(code, processes) -> (exit code, output, messages)`."""

    def run(code, processes=3):
        monkeypatch.setattr(launch, "_WORKER", ("-c", WORKER + code))
        script = tmp_path / "script.py"
        script.touch()
        words = ["launch", "--processes", str(processes), str(script), "--epochs", "2"]
        code = main(words)
        return (code, *capfd.readouterr())

    return run


def test_processes_get_their_place_and_the_first_one_prints(start):
    code, output, messages = start("")
    assert code == 0
    assert output == "output of 0 3 jax\n"
    [message] = messages.splitlines()
    assert message.startswith("message of 0")
    assert "script.py" in message
    assert "'--epochs', '2'" in message


def test_a_mistake_in_one_process(start, monkeypatch):
    monkeypatch.setattr(launch, "_AFTER_ERROR", 0.5)
    code, _, messages = start(
        "if place == '1':\n    sys.exit('a mistake')\ntime.sleep(60)"
    )
    assert code == 1
    assert "a mistake" in messages
    assert "process 1 failed" in messages


def test_a_mistake_in_the_first_process_is_shown_once(start):
    code, _, messages = start("sys.exit('a mistake')")
    assert code == 1
    assert messages.count("a mistake") == 1


def test_a_killed_process(start):
    code, _, messages = start(
        "if place == '2':\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "time.sleep(0.5)\nsys.exit(75) if place == '0' else os.abort()"
    )
    assert code == launch.LOST == 75
    assert "Process 2 of 3 ended by SIGKILL" in messages
    assert "--resume" in messages


def test_a_process_of_another_machine_is_lost(start, monkeypatch):
    monkeypatch.setenv("TEXTGEN_COORDINATOR", "127.0.0.1:7000")
    monkeypatch.setenv("TEXTGEN_PROCESS_ID", "1")
    code, output, messages = start("os.abort()", 2)
    assert code == launch.LOST
    assert output == ""
    assert "Another of the 2 processes ended" in messages


def test_lines_of_native_libraries_are_not_shown(start):
    code, _, messages = start(
        "print('E1129 09:41:03.538945   17218 service.cc:15] E', file=sys.stderr)\n"
        "print('after', file=sys.stderr)\n"
        "print('F1129 09:41:03.538945   17218 client.h:80] F', file=sys.stderr)\n"
        "print('    @     0x7f trace', file=sys.stderr)",
        1,
    )
    assert code == 0
    assert messages.splitlines()[1:] == ["after"]


def test_a_signal_goes_to_the_process(start):
    code, output, _ = start(
        "def stop(number, _):\n"
        "    print('stopped', flush=True)\n"
        "    sys.exit(128 + number)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "os.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)",
        1,
    )
    assert code == 128 + signal.SIGTERM
    assert output.splitlines()[1:] == ["stopped"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Give the script"),
        (["--processes", "2"], "Give the script"),
        (["no-file.py"], "no-file.py is no file"),
        (["train", "dinosaurs"], "give --coordinator, --processes, --process-id"),
        (["--processes", "0", "train", "dinosaurs"], "0 processes"),
        (
            ["--coordinator", "a", "--processes", "2", "--process-id", "0", "train"],
            "must be HOST:PORT",
        ),
    ],
)
def test_errors(words, message, capsys):
    assert main(["launch", *words]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.startswith("textgen launch: error: ")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["launch", "--processes", "2", "train", "dinosaurs"], "Several processes"),
        (["train", "dinosaurs", "--devices", "all"], "--devices all"),
    ],
)
def test_without_jax(words, what, monkeypatch, capsys):
    monkeypatch.setattr(launch, "check_jax", CHECK_JAX)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert main(words) == 2
    printed = capsys.readouterr().err
    assert what in printed
    assert "pip install 'keras-textgen[jax]'" in printed


def test_another_backend(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert main(["launch", "--processes", "2", "train", "dinosaurs"]) == 2
    assert "KERAS_BACKEND=tensorflow" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--processes", "2"], "--processes needs --distribute"),
        (["--process-id", "0"], "--process-id needs --distribute"),
        (["--distribute"], "does not know its place"),
    ],
)
def test_options_of_train(options, message, capsys):
    assert main(["train", "dinosaurs", *options]) == 2
    assert message in capsys.readouterr().err


def test_several_processes_need_a_number_of_epochs(monkeypatch, capsys):
    monkeypatch.setenv("TEXTGEN_PROCESSES", "2")
    assert main(["train", "dinosaurs"]) == 2
    assert "--epochs" in capsys.readouterr().err


def test_train_is_launched_without_the_options_of_the_place(monkeypatch):
    launched = []
    monkeypatch.setattr(launch._Group, "run", lambda self: launched.append(self) or 0)
    monkeypatch.setattr(launch, "_Process", lambda words, place: (words, place))
    words = ["--epochs", "2", "--process-id=0", "--distribute", "-o", "a.keras"]
    place = ["--coordinator", "a:7000", "--processes", "4"]
    assert main(["train", *place, *words, "--", "--processes"]) == 0
    [[started]] = [group._processes for group in launched]
    assert started == (
        ["train", "--epochs", "2", "-o", "a.keras", "--", "--processes"],
        Place("a:7000", 4, 0),
    )


def test_processes_of_this_machine_share_a_free_port():
    arguments = argparse.Namespace(coordinator=None, processes=3, process_id=None)
    places = launch._places(arguments)
    assert [place.process_id for place in places] == [0, 1, 2]
    assert {place.processes for place in places} == {3}
    [coordinator] = {place.coordinator for place in places}
    assert coordinator.startswith("127.0.0.1:")
