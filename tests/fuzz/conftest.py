"""The profiles of hypothesis, and the files that all fuzz tests use.

`make test` runs the profile `short`: a few examples, always the same ones. `make fuzz`
runs `long`: `FUZZ_EXAMPLES` random examples of each property (default: 2,000), and it
first repeats those that failed before.
"""

import contextlib
import os
import re
import resource
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from command_line import TEXT
from hypothesis import HealthCheck, settings

import textgen

# The time of an example depends on the machine, and `run` has its own time limit.
COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck)}

settings.register_profile(
    "short", derandomize=True, database=None, max_examples=20, **COMMON
)
settings.register_profile(
    "long", max_examples=int(os.environ.get("FUZZ_EXAMPLES", 2000)), **COMMON
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder with small models and with files that are not what they seem."""
    folder = tmp_path_factory.mktemp("fuzz")
    characters = textgen.Vocabulary.from_text(TEXT)
    words = textgen.Vocabulary.from_text(TEXT, "word", 9, unknown="\ufffd")
    models = {
        "sequence": {"cell": "gru", "return_sequences": True},
        "window": {"cell": "lstm", "sequence_length": 5},
        "words": {"cell": "simple_rnn", "vocabulary": words, "return_sequences": True},
    }
    for name, arguments in models.items():
        arguments = {"vocabulary": characters, "units": 4, **arguments}
        textgen.LanguageModel(**arguments).save(folder / f"{name}.keras")
    whole = (folder / "sequence.keras").read_bytes()
    (folder / "half.keras").write_bytes(whole[: len(whole) // 2])
    (folder / "text.keras").write_text(TEXT)
    (folder / "old.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (folder / "text.txt").write_text(TEXT)
    (folder / "empty.txt").touch()
    return folder


@contextlib.contextmanager
def limited_memory(more):
    """Raises MemoryError if `more` bytes more than now are needed (on Linux)."""
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        used = int(re.search(r"VmData:\s*(\d+) kB", status)[1]) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (used + more, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)


# Not of the session: the tests of other folders run in the same process.
@pytest.fixture(scope="module", autouse=True)
def apart(files, tmp_path_factory):
    """No network, no corpora of the user; each model is loaded once."""
    loaded = {}
    load = textgen.load

    def load_once(path):
        if os.path.dirname(path) != str(files):
            return load(path)
        if path not in loaded:
            loaded[path] = load(path)
        return loaded[path]

    def refuse(*_, **__):
        raise urllib.error.URLError("there is no network")

    def fit(*_, **__):
        raise KeyboardInterrupt  # the training itself is not the subject here

    with limited_memory(4 << 30), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("TEXTGEN_DATA", raising=False)
        patch.setattr(urllib.request, "urlopen", refuse)
        patch.setattr(textgen, "load", load_once)
        patch.setattr(textgen.LanguageModel, "fit", fit)
        # The timing of `train` trains, too.
        patch.setattr("textgen.advice.suggestion.step_seconds", lambda *_: 0.01)
        # `serve` starts no server, and looks up no names.
        patch.setattr("textgen.web.server.bind", lambda *_: None)
        patch.setattr("textgen.web.server.run", fit)
        yield
