"""Several processes on this machine compute what one process computes."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from textgen.cli.launch import LOST

pytestmark = pytest.mark.jax("trains with several processes")

SCRIPT = Path(__file__).parent / "training.py"
RECIPES = Path(__file__).parent.parent.parent / "recipes"
KINDS = ["windows", "sequences", "lines"]


def run(number, words, folder, **variables):
    """Runs a script in one process, or in several; returns the finished launcher."""
    command = [sys.executable]
    if number > 1:
        command += ["-m", "textgen", "launch", "--processes", str(number)]
    return subprocess.run(
        [*command, *map(str, words)],
        env={**os.environ, "KERAS_BACKEND": "jax", **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


def assert_same(folder, other, kind):
    """Compares losses and weights; single precision has 24 bits, 6e-8."""
    first, second = (np.load(each / f"{kind}.npz") for each in (folder, other))
    assert set(first) == set(second)
    for name in first:
        difference = np.linalg.norm(first[name] - second[name])
        scale = np.linalg.norm(first[name])
        exact = 2e-6 if name.endswith("loss") else 1e-5
        assert difference <= exact * scale, (kind, name, difference / scale)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of a training in one process."""
    folder = tmp_path_factory.mktemp("alone")
    done = run(1, [SCRIPT, folder, *KINDS], folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("number", [2, 4])
def test_several_processes_train_as_one(number, alone, tmp_path):
    kinds = KINDS if number == 2 else KINDS[1:]
    done = run(number, [SCRIPT, tmp_path, *kinds], tmp_path)
    assert done.returncode == 0, done.stderr
    for kind in kinds:
        assert_same(alone, tmp_path, kind)
    # Process 0 alone prints.
    for kind in kinds:
        assert done.stdout.count(f"{kind} generated") == 1
    assert "Gloo" not in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("divide", "kinds"), [(1, ["lines"]), (2, KINDS)])
def test_several_devices_train_as_one(divide, kinds, alone, tmp_path):
    """Four devices of the CPU in place of GPUs; two of them share each matrix."""
    devices = "--xla_force_host_platform_device_count=4"
    options = {"XLA_FLAGS": devices, "DIVIDE": str(divide)}
    done = run(1, [SCRIPT, tmp_path, *kinds], tmp_path, **options)
    assert done.returncode == 0, done.stderr
    for kind in kinds:
        assert_same(alone, tmp_path, kind)


def test_a_lost_process_ends_the_others_and_fewer_go_on(alone, tmp_path):
    began = time.monotonic()
    done = run(4, [SCRIPT, tmp_path, "sequences"], tmp_path, SIGNAL="2:SIGKILL")
    assert time.monotonic() - began < 200  # the training itself included
    assert done.returncode == LOST == 75
    [message] = [each for each in done.stderr.splitlines() if "error" in each]
    assert "Process 2 of 4 ended by SIGKILL" in message
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "sequences.npz").exists()
    assert list((tmp_path / "sequences").glob("step-*.keras"))
    done = run(2, [SCRIPT, tmp_path, "sequences"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same(alone, tmp_path, "sequences")


def test_a_signal_to_one_process_stops_all_with_their_state(alone, tmp_path):
    done = run(2, [SCRIPT, tmp_path, "lines"], tmp_path, SIGNAL="1:SIGTERM")
    assert done.returncode == 128 + 15, done.stderr
    assert "Stopped by SIGTERM" in done.stderr
    assert not (tmp_path / "lines.npz").exists()
    done = run(1, [SCRIPT, tmp_path, "lines"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same(alone, tmp_path, "lines")


def test_a_recipe_is_unchanged(tmp_path):
    curves = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = run(number, [RECIPES / "dinosaurs.py", "--epochs", "1"], folder)
        assert done.returncode == 0, done.stderr
        assert "20 names that are not in the list" in done.stdout
        with (folder / "dinosaurs.csv").open() as file:
            curves.append(
                [[float(e) for e in row.values()] for row in csv.DictReader(file)]
            )
        assert (folder / "dinosaurs.keras").is_file()
    assert np.shape(curves[0]) == (1, 3)
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)


def test_a_script_that_fails(tmp_path):
    script = tmp_path / "wrong.py"
    script.write_text(
        "import os\nif os.environ['TEXTGEN_PROCESS_ID'] == '1':\n"
        "    raise KeyError('a mistake')\n"
    )
    done = run(2, [script], tmp_path)
    assert done.returncode == 1
    assert "KeyError: 'a mistake'" in done.stderr
    assert "process 1 failed" in done.stderr
