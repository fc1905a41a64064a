"""Keras is imported without start-up lines, with a fake Keras that prints some."""

import os
import subprocess
import sys

import pytest

FAKE = """
import os, sys
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
    assert run(tmp_path, code, "level = 'fine'").stdout == "fine\n"
