"""A short form of `make torture`: a training with every kind of state, killed twice."""

import pytest
import torture


@pytest.mark.slow
def test_killed_training_ends_like_one_that_was_not_killed(tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    for each in (whole, folder):
        each.mkdir()
    torture.complete("stateful", whole)
    expected = torture.results(whole)
    states = folder / "states"
    # Between two checkpoints, and while the one after 15 batches or more is written.
    first = torture.kill(
        "stateful", folder, (states / "step-000000010.keras").exists, False
    )
    assert first == "running"
    torture.kill("stateful", folder, lambda: True, True)
    torture.complete("stateful", folder)
    assert torture.differences(expected, torture.results(folder)) == []
