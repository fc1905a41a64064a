import os
import sys
import types

import keras
import pytest

from textgen import backend


@pytest.mark.parametrize("cores", [{0}, {1, 4, 5}])
def test_cores_are_those_of_the_affinity_mask(cores, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert backend.available_cores() == len(cores)


@pytest.mark.parametrize(("machine", "expected"), [(8, 8), (None, 1)])
def test_cores_without_an_affinity_mask(machine, expected, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: machine)
    assert backend.available_cores() == expected


def test_deterministic_operations_are_asked_of_each_backend(monkeypatch):
    calls = []

    def fake(name, **parts):
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**parts))

    def on(name):
        monkeypatch.setattr(keras.backend, "backend", lambda: name)
        backend.make_deterministic()

    experimental = types.SimpleNamespace(
        enable_op_determinism=lambda: calls.append("tensorflow")
    )
    fake("tensorflow", config=types.SimpleNamespace(experimental=experimental))
    cudnn = types.SimpleNamespace(benchmark=True)
    fake(
        "torch",
        use_deterministic_algorithms=calls.append,
        backends=types.SimpleNamespace(cudnn=cudnn),
    )
    monkeypatch.setenv("XLA_FLAGS", "--mine")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    on("tensorflow")
    assert calls == ["tensorflow"]
    on("torch")
    assert (calls[1:], cudnn.benchmark) == ([True], False)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert os.environ["XLA_FLAGS"] == "--mine"
    on("jax")
    assert os.environ["XLA_FLAGS"] == "--mine --xla_gpu_deterministic_ops=true"
