import os

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
