"""The page's numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from inmf_flow import registry
from inmf_flow.evaluate import Metric, MetricRow, summarize
from inmf_flow.report.tables import columns, duration, pages, source_lines, summary


@pytest.fixture
def distance() -> Iterator[None]:
    """A metric whose low values are good."""
    registry.metrics.register("distance", Metric("distance", lambda r, e, s: r[:, 0], False, "m"))
    yield
    registry.metrics.unregister("distance")


def test_summary_has_each_source_and_then_all() -> None:
    rows = [MetricRow("i", source, "si_sdr", value, 1.0, value - 1) for source, value in (("a", 5.0), ("b", 7.0))]
    groups = summary(summarize(rows), columns(summarize(rows)))
    assert [name for name, _ in groups] == ["a", "b", None]
    line = groups[-1][1][0]
    assert (line.mean, line.improvement, line.change, line.count) == ("6.00", "+5.00", "better", 2)
    assert [name for name, _ in summary(summarize(rows[:1]), columns(summarize(rows[:1])))] == ["a"]
    assert summary([], []) == []


def test_a_source_may_be_called_all() -> None:
    rows = [MetricRow("i", source, "si_sdr", value, 0.0, value) for source, value in (("all", 5.0), ("b", 7.0))]
    assert [(name, lines[0].mean) for name, lines in summary(summarize(rows), columns(summarize(rows)))] == [
        ("all", "5.00"),
        ("b", "7.00"),
        (None, "6.00"),
    ]


@pytest.mark.usefixtures("distance")
def test_improvements_follow_the_metrics_direction() -> None:
    rows = [MetricRow("i", "a", "distance", 2.0, 5.0, 3.0), MetricRow("i", "a", "si_sdr", -1.0, 2.0, -3.0)]
    metrics = columns(summarize(rows))
    assert [(metric.heading, metric.better) for metric in metrics] == [
        ("distance (m)", "lower"),
        ("SI-SDR (dB)", "higher"),
    ]
    cells = source_lines(rows, metrics)[0].cells
    assert [(cell.value, cell.improvement, cell.change) for cell in cells] == [
        ("2.00", "+3.00", "better"),
        ("−1.00", "−3.00", "worse"),
    ]


def test_metrics_that_are_not_installed_are_shown_by_name() -> None:
    assert columns(summarize([MetricRow("i", "a", "novel", 1.0, 0.0, 1.0)]))[0].heading == "novel"


def test_undefined_values_are_dashes() -> None:
    rows = [
        MetricRow("i", "a", "si_sdr", math.nan, math.nan, math.nan),
        MetricRow("i", "b", "sdr", math.inf, 0.0, math.inf),
    ]
    lines = source_lines(rows, columns(summarize(rows)), ["c"])
    assert [[cell.value for cell in line.cells] for line in lines] == [["–", "–"], ["–", "∞"], ["–", "–"]]
    assert summary(summarize(rows[:1]), columns(summarize(rows[:1])))[0][1][0].mean == "–"


def test_pages_hold_every_line_once() -> None:
    lines = list(range(205))
    parts = list(pages(lines))
    assert [(first, last) for first, last, _ in parts] == [(1, 100), (101, 200), (201, 205)]
    assert [line for _, _, part in parts for line in part] == lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.424, "0.42 s"),
        (12.34, "12.3 s"),
        (185.2, "3 min 05 s"),
        (7620, "2 h 07 min"),
        (59.97, "1 min 00 s"),
    ],
)
def test_durations_are_written_as_people_say_them(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
