"""What the tests of this folder share."""

import keras
import pytest


@pytest.fixture
def seed():
    keras.utils.set_random_seed(0)
