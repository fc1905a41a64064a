"""Models that the tests of this folder share."""

import pytest
from small_models import KINDS, shared


@pytest.fixture(params=["window", "state"])
def model(request):
    return shared(request.param)


@pytest.fixture(params=KINDS)
def any_model(request):
    """Models for tests that depend on how a text begins."""
    return shared(request.param)
