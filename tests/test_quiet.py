"""Keras is imported without start-up lines, with a fake Keras that prints some."""

import os
import shlex
import signal
import subprocess
import sys

import pytest

FAKE = """
import os, sys, types
backend = types.SimpleNamespace(backend=lambda: "tensorflow")
os.write(2, b"noise of native code\\n")
sys.stderr.write("noise of Python\\n")
level = os.environ["TF_CPP_MIN_LOG_LEVEL"]
"""


def run(folder, code, fake=FAKE, **environment):
    """Runs code in a fresh process where `keras` is the fake one."""
    (folder / "keras.py").write_text(fake)
    variables = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    variables |= {"PYTHONPATH": str(folder), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True
    )


@pytest.mark.parametrize(("level", "noisy"), [(None, 0), ("3", 0), ("0", 1), ("2", 1)])
def test_start_up_lines_come_only_if_they_are_asked_for(level, noisy, tmp_path):
    variables = {} if level is None else {"TF_CPP_MIN_LOG_LEVEL": level}
    code = "import textgen; print(textgen.import_keras().level)"
    done = run(tmp_path, code, **variables)
    assert done.stdout == (level or "3") + "\n"
    assert done.stderr.count("noise") == 2 * noisy


def test_a_public_name_that_needs_keras_imports_it_quietly(tmp_path):
    done = run(tmp_path, "import textgen; textgen.LanguageModel", FAKE)
    # The fake has no layers, so that the import of the model fails later.
    assert "noise" not in done.stderr
    assert "Error" in done.stderr
    code = "import sys, textgen; textgen.Vocabulary; print('keras' in sys.modules)"
    assert run(tmp_path, code).stdout == "False\n"


def test_lines_of_a_failed_import_are_shown(tmp_path):
    code = "import textgen; textgen.import_keras()"
    done = run(tmp_path, code, FAKE + "raise ValueError('no backend')")
    assert done.stderr.count("noise") == 2
    assert done.stderr.endswith("ValueError: no backend\n")


def test_a_process_without_standard_error(tmp_path):
    code = "import os; os.close(2); import textgen; print(textgen.import_keras().level)"
    fake = FAKE[: FAKE.index("os.write")] + "level = 'fine'"
    assert run(tmp_path, code, fake).stdout == "fine\n"


@pytest.mark.parametrize(
    ("backend", "imported"), [("jax", True), ("tensorflow", False)]
)
def test_another_backend_also_imports_tensorflow_quietly(backend, imported, tmp_path):
    (tmp_path / "tensorflow.py").write_text(FAKE)
    code = (
        "import sys, textgen; textgen.import_keras(); "
        "print('tensorflow' in sys.modules)"
    )
    done = run(tmp_path, code, FAKE.replace("tensorflow", backend))
    assert (done.stdout, done.stderr) == (f"{imported}\n", "")


# === plain_exits ===


def script(folder, code, *arguments, **options):
    """Runs a training script."""
    (folder / "a b.py").write_text(f"import os, signal, textgen\n{code}")
    return subprocess.run(
        [sys.executable, folder / "a b.py", *arguments],
        capture_output=True,
        text=True,
        **options,
    )


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_script_with_the_command_that_continues(name, tmp_path):
    number = getattr(signal, name)
    command = shlex.join([sys.executable, f"{tmp_path}/a b.py", "--name", "x y"])
    message = "\nStopped. To continue after the last checkpoint:\n  {}\n"
    raising = f"signal.raise_signal({int(number)})\nprint('not reached')"
    done = script(
        tmp_path, f"print('so far')\ntextgen.plain_exits()\n{raising}", "--name", "x y"
    )
    assert done.returncode == 128 + number
    assert (done.stdout, done.stderr) == (
        "so far\n",
        message.format(f"{command} --resume"),
    )
    # While the standard error is silenced, and with the option already given.
    code = "print(textgen.plain_exits())\nfrom textgen.quiet import silent\n"
    code += f"with silent():\n  {raising.splitlines()[0]}"
    done = script(tmp_path, code, "--name", "x y", "--resume")
    assert done.returncode == 128 + number
    assert done.stdout == f"{command} --resume\n"
    assert done.stderr == message.format(f"{command} --resume")


def test_an_ignored_signal_stays_ignored(tmp_path):
    code = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\ntextgen.plain_exits()\n"
    done = script(tmp_path, f"{code}signal.raise_signal(signal.SIGHUP)\nprint('on')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "")


def test_errors_of_textgen_and_of_files_have_no_traceback(tmp_path):
    for code, line in {
        "raise OSError('The disk is full.')": "a b.py: error: The disk is full.\n",
        "textgen.Vocabulary('ab').encode('abc')": "a b.py: error: Not in the voc",
    }.items():
        done = script(tmp_path, f"textgen.plain_exits()\n{code}")
        assert done.returncode == 1
        assert done.stderr.startswith(line)
        assert done.stderr.count("\n") == 1
    done = script(tmp_path, "textgen.plain_exits()\nint('x')")
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("invalid literal for int() with base 10: 'x'\n")
