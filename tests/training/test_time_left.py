"""The time left of simulated trainings, whose real rest is known."""

import pytest

from textgen.training.time_left import TimeLeft, clock


def simulate(left, epochs, steps, step, work, compile=0.0, first=(0, 0), slow=None):
    """Runs a training; yields the real and the estimated rest after each event.

    Args:
        left: `TimeLeft`.
        epochs, steps: int.
        step, work: float. Seconds.
        compile: float. Seconds that the first step, and the first work, take longer.
        first: Epoch and finished steps before a resume.
        slow: Function that gives the factor of a step by its number.
    """
    now, events = 0.0, []
    began = True
    for epoch in range(first[0], epochs):
        left.begin_epoch(epoch, now)
        events.append((now, left.seconds(now), epoch))
        done = first[1] if epoch == first[0] else 0
        for number in range(done, steps):
            now += step * (slow(number) if slow else 1) + compile * began
            began = False
            left.end_step(number + 1, now)
            events.append((now, left.seconds(now), epoch))
        extra = compile if epoch == first[0] else 0.0
        left.end_validation(extra + 0.1, 0.1)
        now += work + extra
        events.append((now, left.seconds(now), epoch))
    return [(now - at, estimate, epoch) for at, estimate, epoch in events]


@pytest.mark.parametrize("first", [(0, 0), (2, 0), (2, 30)])
def test_time_left_is_right_from_the_second_epoch_on(first):
    left = TimeLeft(5, 40)
    found = simulate(left, 5, 40, step=0.5, work=7.0, compile=30.0, first=first)
    later = [(rest, each) for rest, each, epoch in found if epoch > first[0]]
    assert len(later) > 80
    for rest, estimate in later:
        assert estimate == pytest.approx(rest, abs=1e-6)


def test_time_left_in_the_first_epoch_has_no_compilation():
    found = simulate(TimeLeft(3, 40), 3, 40, step=0.5, work=0.0, compile=30.0)
    assert found[0][1] is None
    assert found[1][1] is None  # after the step that was compiled
    for _, estimate, epoch in found[2:41]:
        assert epoch == 0
        assert estimate <= 60.0
    assert found[20][1] == pytest.approx(100 * 0.5)


def test_the_first_validation_is_expected():
    left = TimeLeft(2, 10, validation=5.0)
    left.begin_epoch(0, 0.0)
    for number in range(10):
        left.end_step(number + 1, number + 1.0)
    # Ten more steps, and two validations of five batches; one third each, and a margin.
    assert 10 + 2 * 5 / 3 <= left.seconds(10.0) <= 10 + 2 * 5 / 2
    assert left.seconds(11.0) == pytest.approx(left.seconds(10.0) - 1.0)
    assert left.seconds(1000.0) == pytest.approx(10 + 2.0)  # it takes longer


def test_a_machine_that_becomes_slower():
    found = simulate(
        TimeLeft(1, 4000), 1, 4000, 0.1, 0.0, slow=lambda n: 1 if n < 1000 else 3
    )
    rest, estimate, _ = found[3000]  # ten minutes after the change
    assert estimate == pytest.approx(rest, rel=0.01)


def test_several_steps_in_one_execution():
    left = TimeLeft(1, 20)
    left.begin_epoch(0, 0.0)
    for end in (5, 10, 15):
        left.end_step(end, float(end))
    assert left.step == pytest.approx(1.0)
    assert left.seconds(15.0) == pytest.approx(5.0)
    assert left.share() == 0.75


def test_unknown_number_of_steps():
    left = TimeLeft(4, None)
    left.begin_epoch(0, 0.0)
    for number in range(5):
        left.end_step(number + 1, float(number))
    assert left.share() is None
    assert left.seconds(5.0) is None


def test_share_of_all_epochs():
    left = TimeLeft(4, 10)
    left.begin_epoch(1, 0.0)
    left.end_step(5, 1.0)
    assert left.share() == (10 + 5) / 40


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7500, "2 h 05 min")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text
