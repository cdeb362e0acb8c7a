"""What a person sees of a running training: rates of training steps, and an honest estimate after a resumption."""

from __future__ import annotations

import re

import pytest

from components import progress
from components.train_model import meter as meters
from components.train_model.loader import Counts
from components.train_model.meter import Meter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(meters, "time", clock)
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_rates_are_those_of_training_steps(clock: Clock) -> None:
    meter = Meter(peak_flops=4e12, started=clock.now)
    counts = Counts(transcripts=64, windows=50, tokens=9000, attention_places=9500, flops=2e13, padding_flops=1e12)
    meter.add(counts, 2, 40)
    clock.now += 10
    with meter.paused():  # validation
        clock.now += 90
    assert meter.line(0.1) == ("6.4 transcripts/s, 900 tokens/s, 2 TFLOP/s (50% of peak), 1.0% waiting for input")
    summary = meter.summary(0.1)
    assert summary.startswith("64 transcripts in 10 s: ")
    assert "4.8% of operations for padding, 1.25 encodings per distinct DNA window" in summary


def test_what_was_done_before_says_nothing_about_the_rate(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    with progress.track(1000, "train", "steps", done=900) as advance:
        clock.now += 10
        advance(5, "fast")
    said = capfd.readouterr().err
    assert re.fullmatch(r"train: 905 of 1,000 steps \(0\.5/s, 190 s left\), fast\n", said), said
