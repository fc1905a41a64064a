"""Fixtures that the tests of this folder share."""

import pytest
from small_models import KINDS, shared

from textgen import tracing


@pytest.fixture(params=["window", "state"])
def model(request):
    return shared(request.param)


@pytest.fixture(params=KINDS)
def any_model(request):
    """Models for tests that depend on how a text begins."""
    return shared(request.param)


@pytest.fixture
def uncompiled(monkeypatch):
    """Functions of tiny networks take longer to compile than to run."""
    monkeypatch.setattr(tracing, "compiled", lambda function, *_: function)
