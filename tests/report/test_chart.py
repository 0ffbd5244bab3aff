"""Where curves lie on a chart, and what of them is shown."""

from __future__ import annotations

import re

import pytest

from genkit.report import chart
from genkit.report.chart import DOWN, LEFT, TOP, Line, Mark, Range


def path_of(svg: str, name: str) -> list[tuple[float, float]]:
    (path,) = re.findall(rf'class="line {name}" d="M([^"]*)"', svg)
    return [(float(x), float(y)) for x, y in (place.split(" ") for place in path.split("L"))]


def test_a_point_lies_where_its_numbers_say() -> None:
    line = Line("train", [(0, 10), (1, 20), (4, 15)])
    svg = chart.draw("loss", [line], Range(0, 4), Range(10, 20), "epoch", Mark(4, 15, "best: 15"))
    # Within a drawing of its own, which begins 4 above the plane so that lines at its edge are whole.
    assert path_of(svg, "train") == [(0, DOWN + 4), (chart.ACROSS / 4, 4), (chart.ACROSS, DOWN / 2 + 4)]
    assert f'<circle cx="{LEFT + chart.ACROSS:.1f}" cy="{TOP + DOWN / 2:.1f}" r="5"/>' in svg
    assert ">best: 15</text>" in svg
    assert svg.count("<circle") == 1  # training is a line without dots


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0, 4, ["0", "1", "2", "3", "4"]),
        (0.9, 2.1, ["1.0", "1.5", "2.0"]),
        (104, 380, ["200", "300"]),
        (-0.2, 0.21, ["−0.2", "0.0", "0.2"]),
        (0, 41_000, ["0", "20,000", "40,000"]),
        (1e16, 1e16 + 4, None),
        (0, 1e-9, ["0", "5e-10", "1e-09"]),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, texts: list[str] | None) -> None:
    ticks = chart.ticks(Range(low, high), 4)
    assert len(ticks) <= 10
    assert all(low <= value <= high * (1 + 1e-9) + 1e-9 for value, _ in ticks)
    if texts is not None:
        assert [text for _, text in ticks] == texts


def test_a_beginning_far_away_is_cut_off_and_no_other() -> None:
    falling = [(step / 100, 1000.0 if step < 5 else 100.0 - step / 10) for step in range(101)]
    x, y = chart.ranges([[Line("train", falling)]])
    assert x == (0, 1)
    assert y.high < 110
    assert y.low < 90
    even = [(step / 100, 100.0 - step / 10) for step in range(101)]
    assert chart.ranges([[Line("train", even)]])[1].high > 100
    # Another run's epochs have no say in what a beginning is.
    long = [(epoch, 95.0) for epoch in range(100)]
    x, y = chart.ranges([[Line("train", falling)], [Line("train", long)]])
    assert x == (0, 99)
    assert y.low < 90


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e-12, 1e30, -1e30])
def test_a_curve_of_one_value_can_be_drawn(value: float) -> None:
    for points in ([(1.0, value)], [(0.0, value), (0.0, value)], [(1.0, value), (2.0, value)]):
        line = Line("validation", points)
        x, y = chart.ranges([[line]])
        assert y.length > 0
        svg = chart.draw("m", [line], x, y, "epoch", Mark(*points[0], "best"))
        assert "nan" not in svg
        assert "inf" not in svg


def test_many_points_are_averaged_not_dropped() -> None:
    few = chart.fewer([(float(at), float(at % 2)) for at in range(3000)])
    assert len(few) == chart.MOST_POINTS
    assert few[0] == (4.5, 0.5)
    assert {y for _, y in few} == {0.5}


def test_names_at_the_ends_of_lines_never_overlap() -> None:
    lines = [Line("train", [(0, 1), (1, 0.001)]), Line("validation", [(0, 1), (1, 0)])]
    svg = chart.draw("m", lines, Range(0, 1), Range(0, 1), "epoch")
    places = [float(y) for y in re.findall(r'<text class="(?:train|validation)" x="[^"]*" y="([^"]*)"', svg)]
    assert abs(places[0] - places[1]) >= chart.LEADING
    assert max(places) <= TOP + DOWN


def test_a_title_is_text() -> None:
    svg = chart.draw("<script>", [Line("train", [(0, 1)])], Range(0, 1), Range(0, 1), '"><b>')
    assert "<script>" not in svg
    assert "<b>" not in svg
