"""Signals: what a program has set before stays, and what nobody has set becomes an exception."""

from __future__ import annotations

import os
import signal

import pytest

from fmnist_tfds import processes


@pytest.fixture(autouse=True)
def _same_handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_signals_that_nobody_handles_become_exceptions():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    processes.end_by_exceptions()
    with pytest.raises(processes.Terminated):
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("own", [signal.SIG_IGN, lambda number, frame: None])
def test_what_a_program_has_set_stays(own):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, own)
    processes.end_by_exceptions()
    for number in (signal.SIGINT, signal.SIGTERM):
        assert signal.getsignal(number) is own


def test_program_that_only_imports_this_package_keeps_its_ctrl_c(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py"])
    before = signal.getsignal(signal.SIGINT)
    processes.end_quietly_while_importing()
    assert signal.getsignal(signal.SIGINT) is before
    monkeypatch.setattr("sys.argv", ["/usr/bin/fmnist-tfds"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    processes.end_quietly_while_importing()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
