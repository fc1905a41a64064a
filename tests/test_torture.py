"""A short form of `make torture`: a training with every kind of state, killed twice."""

import random

import pytest
import torture


@pytest.mark.slow
def test_killed_training_ends_like_one_that_was_not_killed(tmp_path):
    draw = random.Random(1)
    (tmp_path / "whole").mkdir()
    seconds = torture.complete("stateful", tmp_path / "whole")
    expected = torture.results(tmp_path / "whole")
    folder = tmp_path / "killed"
    folder.mkdir()
    kills = [
        torture.kill("stateful", folder, seconds, draw, while_writing)
        for while_writing in (False, True)
    ]
    assert "ended" not in kills
    torture.complete("stateful", folder)
    assert torture.differences(expected, torture.results(folder)) == []
