"""Signals within `fit`: the first one is noted, a second one ends the process."""

import os
import signal
import sys
import threading
import time

import pytest

from textgen import TrainingStopped
from textgen.training import signals

NUMBERS = [getattr(signal, name) for name in signals.NAMES]


@pytest.mark.parametrize("number", NUMBERS)
def test_first_signal_is_noted_and_the_second_one_has_its_default_action(number):
    before = [signal.getsignal(each) for each in NUMBERS]
    with signals.Signals() as received:
        assert received.received is None
        os.kill(os.getpid(), number)
        assert received.received == number
        assert [signal.getsignal(each) for each in NUMBERS] == [signal.SIG_DFL] * 3
    assert [signal.getsignal(each) for each in NUMBERS] == before


def test_second_interrupt_of_an_interactive_session(monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with signals.Signals(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.Signals() as received:
            os.kill(os.getpid(), signal.SIGHUP)
            assert received.received is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_receive_no_signals():
    before = [signal.getsignal(each) for each in NUMBERS]
    found = []

    def enter():
        with signals.Signals():
            found.extend(signal.getsignal(each) for each in NUMBERS)
            found.append(signals.interruptible(lambda: 1))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [*before, 1]


def test_signal_ends_an_interruptible_function():
    def work(seconds):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(seconds)
        return "done"

    calls = []
    with signals.Signals() as received:
        assert signals.interruptible(str, 7) == "7"
        assert received.received is None
        began = time.monotonic()
        assert signals.interruptible(work, 60) is None
        assert time.monotonic() - began < 10
        assert received.received == signal.SIGTERM
        # Nothing is started after the signal.
        assert signals.interruptible(calls.append, 1) is None
    assert calls == []
    assert signals.interruptible(str, 7) == "7"


def test_closed_terminal_raises_no_errors_in_callbacks(monkeypatch):
    class Terminal:
        text = ""

        def isatty(self):
            return True

        def write(self, text):
            raise OSError(5, "Input/output error")

        def flush(self):
            raise OSError(5, "Input/output error")

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    with signals.Signals() as received:
        os.kill(os.getpid(), signal.SIGHUP)
        print("progress bar", flush=True)
        received.show("Stopped")
    assert sys.stdout is sys.stderr is terminal


def test_error_is_an_exit_with_the_status_of_a_shell():
    error = TrainingStopped(signal.SIGTERM, "folder")
    assert isinstance(error, SystemExit)
    assert (error.code, error.signal, error.folder) == (143, 15, "folder")
