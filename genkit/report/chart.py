"""Curves as SVG: small drawings with names at the lines' ends, whose colours and letters the page's CSS sets.

They are narrow enough for a phone at their own size, and stand side by side where there is room.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 360, 216
LEFT, RIGHT, TOP, BOTTOM = 46, 72, 26, 32
#: The plane between the axes.
ACROSS, DOWN = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
#: Points of a line; neighbours are averaged where there are more.
MOST_POINTS = 300
#: Lines with so many points or fewer show each of them.
DOTTED = 60
#: Between two names at the ends of lines.
LEADING = 13
#: A line's beginning, as a share of the epochs, that may lie above or below what is shown, and how much larger than the
#: rest it must be before it does.
BEGINNING, DWARFS = 0.1, 2.5


class Range(NamedTuple):
    low: float
    high: float

    @property
    def length(self) -> float:
        return self.high - self.low


class Line(NamedTuple):
    """A curve.

    Attributes:
        name: stands at its end; also the CSS class that gives it its colour.
        points: (x, y), in the order of x; at least one.
    """

    name: str
    points: Sequence[tuple[float, float]]


class Mark(NamedTuple):
    """A point that is named."""

    x: float
    y: float
    text: str


def draw(title: str, lines: Sequence[Line], x: Range, y: Range, x_name: str, mark: Mark | None = None) -> Markup:
    """The lines over the ranges, which `ranges` gives; what lies outside is cut off."""
    plane = Plane(x, y)
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}"><text class="name" x="{}" y="14">{}</text>'
        "{}{}{}{}</svg>"
    ).format(
        WIDTH,
        HEIGHT,
        in_words(title, lines, x_name, mark),
        LEFT,
        title,
        axes(plane, x_name),
        curves(plane, lines),
        Markup("") if mark is None else marked(plane, mark),
        names(plane, lines),
    )


def in_words(title: str, lines: Sequence[Line], x_name: str, mark: Mark | None) -> str:
    """What the drawing shows, for whoever can't see it."""
    said = [f"{line.name} from {line.points[0][1]:.4g} to {line.points[-1][1]:.4g}" for line in lines]
    return f"{title} by {x_name}: " + "; ".join([*said, *([mark.text] if mark else [])])


def ranges(charts: Sequence[Sequence[Line]]) -> tuple[Range, Range]:
    """x and y that suit all of these charts, so that they can be compared."""
    windows = [window([point for line in lines for point in line.points]) for lines in charts]
    xs, ys = ([each[axis] for each in windows] for axis in (0, 1))
    x, y = (Range(min(each.low for each in of), max(each.high for each in of)) for of in (xs, ys))
    return x, y


def window(points: Sequence[tuple[float, float]]) -> tuple[Range, Range]:
    """x and y of one chart.

    Training begins far from where it gets. Where the beginning would flatten all that comes after, it is cut off.
    """
    xs = [x for x, _ in points]
    x = Range(min(0.0, *xs), max(xs)) if max(xs) > 0 else Range(min(xs), min(xs) + 1)
    everything = span([y for _, y in points])
    later = [value for at, value in points if at >= x.low + BEGINNING * x.length]
    y = span(later) if later else everything
    return x, y if everything.length > DWARFS * y.length else everything


def span(values: Sequence[float]) -> Range:
    """From the least to the greatest, with a little air; never empty."""
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return Range(low - air if low < 0 or low > 4 * air else min(low, max(0.0, low - air)), high + air)


class Plane:
    """Where values lie on the drawing."""

    def __init__(self, x: Range, y: Range):
        self.x, self.y = x, y

    def across(self, value: float) -> float:
        return ACROSS * (value - self.x.low) / self.x.length

    def down(self, value: float) -> float:
        return DOWN * (self.y.high - value) / self.y.length


def axes(plane: Plane, x_name: str) -> Markup:
    """Faint lines with the numbers beside them."""
    parts = [Markup("<g class='axes'>")]
    for value, text in ticks(plane.y, 4):
        y = TOP + plane.down(value)
        parts.append(Markup('<path d="M{} {:.1f}h{}"/>').format(LEFT, y, ACROSS))
        parts.append(Markup('<text class="end" x="{}" y="{:.1f}">{}</text>').format(LEFT - 6, y + 4, text))
    for value, text in ticks(plane.x, 5):
        x = LEFT + plane.across(value)
        parts.append(Markup('<path d="M{:.1f} {}v4"/>').format(x, TOP + DOWN))
        parts.append(Markup('<text class="middle" x="{:.1f}" y="{}">{}</text>').format(x, TOP + DOWN + 16, text))
    parts.append(Markup('<path class="base" d="M{} {}h{}"/>').format(LEFT, TOP + DOWN, ACROSS))
    parts.append(Markup('<text x="{}" y="{}">{}</text></g>').format(LEFT + ACROSS + 14, TOP + DOWN + 16, x_name))
    return Markup("").join(parts)


def ticks(of: Range, about: int) -> list[tuple[float, str]]:
    """Round numbers within a range, a step of 1, 2 or 5 times a power of ten apart, with how they are written."""
    exponent = math.floor(math.log10(of.length / about))
    size = of.length / about / 10**exponent
    step = next(nice for nice in (1, 2, 5, 10) if size <= nice * 1.0001) * 10.0**exponent
    first = math.ceil(of.low / step)
    values = [number * step for number in range(first, first + 2 * about + 2)]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(value, shown(value, digits)) for value in values if value <= of.high + 1e-9 * of.length]


def shown(value: float, digits: int) -> str:
    if abs(value) >= 1e5 or digits > 4:
        return f"{value:.3g}"
    return f"{value + 0.0:,.{digits}f}".replace("-", "−")


def curves(plane: Plane, lines: Sequence[Line]) -> Markup:
    """The lines, in a drawing of their own that cuts off what lies outside."""
    parts = [Markup('<svg x="{}" y="{}" width="{}" height="{}">').format(LEFT, TOP - 4, ACROSS + 4, DOWN + 8)]
    for line in lines:
        places = [(plane.across(x), plane.down(y) + 4) for x, y in fewer(line.points)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(Markup('<path class="line {}" d="M{}"/>').format(line.name, path))
        if line.name == "validation" and len(places) <= DOTTED:
            parts += [
                Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="2.2"/>').format(line.name, *p) for p in places
            ]
        elif len(places) == 1:
            parts.append(Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="2.2"/>').format(line.name, *places[0]))
    return Markup("").join([*parts, Markup("</svg>")])


def fewer(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `MOST_POINTS`, each the mean of as many neighbours."""
    share = math.ceil(len(points) / MOST_POINTS)
    groups = [points[start : start + share] for start in range(0, len(points), share)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def marked(plane: Plane, mark: Mark) -> Markup:
    """A ring around a point, a line down to the axis, and its text on the side where there is room."""
    x, y = LEFT + plane.across(mark.x), TOP + min(max(plane.down(mark.y), 0), DOWN)
    right = x > LEFT + ACROSS / 2
    above = y > TOP + DOWN / 2
    return Markup(
        '<g class="mark"><path d="M{0:.1f} {1}V{2:.1f}"/><circle cx="{0:.1f}" cy="{2:.1f}" r="5"/>'
        '<text class="{3}" x="{4:.1f}" y="{5:.1f}">{6}</text></g>'
    ).format(
        x, TOP + DOWN, y, "end" if right else "start", x + (2 if right else -2), y + (-11 if above else 20), mark.text
    )


def names(plane: Plane, lines: Sequence[Line]) -> Markup:
    """Each line's name at its end, pushed apart where they would overlap."""
    ends = sorted((TOP + min(max(plane.down(fewer(line.points)[-1][1]), 4), DOWN - 4) + 4, line.name) for line in lines)
    places: list[float] = []
    for y, _ in ends:
        places.append(max(y, places[-1] + LEADING) if places else y)
    over = max(0.0, places[-1] - (TOP + DOWN)) if places else 0.0
    parts = [
        Markup('<text class="{}" x="{}" y="{:.1f}">{}</text>').format(name, LEFT + ACROSS + 8, place - over, name)
        for place, (_, name) in zip(places, ends, strict=True)
    ]
    return Markup("").join(parts)
