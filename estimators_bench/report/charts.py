"""Small charts as inline SVG: in the colours of the page, with words for what they show."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from estimators_bench.report.markup import Child, Markup, tag

Points = Sequence[tuple[float, float]]

_LETTER = 6.6  # width of a letter in the charts' type


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis, from low to high, drawn from start to end."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return where a value is drawn."""
        share = math.log(max(value, 1e-12) / self.low) / math.log(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Return round values within: powers of ten, and more where they are few."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        wide = self.high / self.low
        steps = (1,) if wide > 1e3 else (1, 3) if wide > 100 else (1, 2, 5) if wide > 8 else None
        steps = steps or (1, 1.5, 2, 3, 4, 5, 7)
        values = (step * 10.0**decade for decade in decades for step in steps)
        return [value for value in values if self.low <= value * 1.0001 and value <= self.high]


def axis(values: Sequence[float], start: float, end: float) -> Axis:
    """Return an axis with room around the values, all above 0."""
    low, high = min(values), max(values)
    room = max(1.25, (high / low) ** 0.06)
    return Axis(low / room, high * room, start, end)


def lines(series: Mapping[str, Points], x_name: str, y_name: str, about: str) -> Markup:
    """Draw a line for each series, named at its end.

    Parameters
    ----------
    series : mapping of name to points
        Both coordinates above 0; at most eight series.
    x_name, y_name : str
        Under and above the chart.
    about : str
        What it shows, for those who cannot see it.
    """
    width, height, right = 640, 300, 200
    every = [point for points in series.values() for point in points]
    x = axis([p[0] for p in every], 52, width - right)
    y = axis([p[1] for p in every], height - 38, 26)
    drawn, ends = [], []
    for which, (name, points) in enumerate(series.items()):
        places = [(x.at(px), y.at(py)) for px, py in points]
        path = " ".join(f"{px},{py}" for px, py in places)
        drawn.append(tag("polyline", points=path, class_=f"line s{which}"))
        drawn.extend(
            _mark(which, px, py, f"{name}: {points[i][1]:.3g} at {points[i][0]:g}")
            for i, (px, py) in enumerate(places)
        )
        ends.append((places[-1][1], which, name))
    for place, (end, which, name) in zip(
        _apart([e[0] for e in sorted(ends)]), sorted(ends), strict=True
    ):
        drawn.append(
            tag("path", d=f"M{width - right + 4} {end}L{width - right + 14} {place}", class_="lead")
        )
        drawn.append(tag("text", name, x=width - right + 18, y=place + 4, class_=f"name t{which}"))
    marks = sorted({px for px, _ in every})
    frame = _frame(x, y, marks if len(marks) < 7 else x.ticks(), x_name, y_name)
    return _drawing(width, height, about, frame, drawn)


def scatter(
    points: Mapping[str, tuple[float, float]], x_name: str, y_name: str, about: str
) -> Markup:
    """Draw a named mark for each point; both coordinates above 0."""
    width, height = 640, 380
    x = axis([p[0] for p in points.values()], 52, width - 130)
    y = axis([p[1] for p in points.values()], height - 38, 26)
    taken: list[tuple[float, float, float, float]] = []
    places = {name: (x.at(px), y.at(py)) for name, (px, py) in points.items()}
    taken.extend((px - 4, py - 4, px + 4, py + 4) for px, py in places.values())
    drawn = []
    for name, (px, py) in sorted(places.items(), key=lambda item: item[1][1]):
        drawn.append(_mark(0, px, py, f"{name}: {points[name][1]:.3g}, {points[name][0]:.3g}"))
        spot = _free(name, px, py, taken)
        if spot is not None:
            left = spot[0] < px
            drawn.append(
                tag(
                    "text",
                    name,
                    x=round(px - 7 if left else px + 7, 1),
                    y=round(spot[3] - 3, 1),
                    class_="name end" if left else "name",
                )
            )
            taken.append(spot)
    return _drawing(width, height, about, _frame(x, y, x.ticks(), x_name, y_name), drawn)


def coverage(low: float, middle: float, high: float, promised: float) -> Markup:
    """Draw an interval of a share as a bar of 0 to 1, with a line where it was promised to be."""
    width = 120
    at = [round(2 + share * (width - 4), 1) for share in (low, middle, high, promised)]
    return tag(
        "svg",
        tag("path", d=f"M2 8H{width - 2}", class_="rail"),
        tag("path", d=f"M{at[3]} 1V15", class_="promise"),
        tag("path", d=f"M{at[0]} 8H{at[2]}", class_="span"),
        tag("circle", cx=at[1], cy=8, r=3.5, class_="dot"),
        viewBox=f"0 0 {width} 16",
        class_="bar",
        aria_hidden="true",
    )


def _drawing(width: int, height: int, about: str, *parts: Child) -> Markup:
    return tag(
        "svg",
        tag("title", about),
        *parts,
        viewBox=f"0 0 {width} {height}",
        class_="chart",
        role="img",
    )


def _frame(x: Axis, y: Axis, marks: Sequence[float], x_name: str, y_name: str) -> list[Markup]:
    parts = []
    for value in y.ticks():
        place = y.at(value)
        parts.append(tag("path", d=f"M{x.start} {place}H{x.end}", class_="grid"))
        parts.append(tag("text", f"{value:g}", x=x.start - 6, y=place + 4, class_="tick end"))
    for value in marks:
        place = x.at(value)
        parts.append(tag("path", d=f"M{place} {y.start}v4", class_="grid"))
        parts.append(tag("text", f"{value:g}", x=place, y=y.start + 17, class_="tick mid"))
    parts.append(tag("text", x_name, x=x.end, y=y.start + 33, class_="tick end"))
    parts.append(tag("text", y_name, x=8, y=14, class_="tick"))
    return parts


def _mark(which: int, x: float, y: float, said: str) -> Markup:
    """Return a mark of the series' own shape."""
    shapes = (
        "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
        "M-4-4h8v8h-8z",
        "M0-5l5 8h-10z",
        "M0-5l5 5-5 5-5-5z",
    )
    return tag(
        "path",
        tag("title", said),
        d=shapes[which % 4],
        class_=f"mark m{which}",
        transform=f"translate({x} {y})",
    )


def _apart(places: Sequence[float], least: float = 14.0) -> list[float]:
    """Return ascending places moved so that neighbours are at least so far apart."""
    moved = list(places)
    for _ in range(60):
        for i, j in itertools.pairwise(range(len(moved))):
            lack = least - (moved[j] - moved[i])
            if lack > 0.01:
                moved[i], moved[j] = moved[i] - lack / 2, moved[j] + lack / 2
    return [round(place, 1) for place in moved]


def _free(
    name: str, x: float, y: float, taken: Sequence[tuple[float, float, float, float]]
) -> tuple[float, float, float, float] | None:
    """Return a box for a name near a place which covers nothing, if there is one."""
    wide = _LETTER * len(name)
    for lift in (0, -9, 9, -16, 16, -23, 23):
        for left in (x + 7, x - 7 - wide):
            box = (left, y + lift - 7, left + wide, y + lift + 7)
            apart = all(
                box[2] < t[0] or t[2] < box[0] or box[3] < t[1] or t[3] < box[1] for t in taken
            )
            if apart and box[0] > 44:
                return box
    return None
