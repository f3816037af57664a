"""Compute where the marks of the figures are, in a picture of `WIDTH` × `HEIGHT`; the page draws them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 420.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 14.0, 34.0
_SPREAD = 0.3
"""How far the points of a column spread to each side, as a part of its width."""
_GOLDEN = 0.6180339887
"""Multiples of it, modulo 1, spread points evenly however many there are."""


@dataclass(frozen=True)
class Mark:
    """The point of one case in one region."""

    x: float
    y: float
    case: str
    region: int
    """Number of the region, for its colour."""
    text: str


@dataclass(frozen=True)
class Box:
    """The quartiles of one region."""

    x: float
    half_width: float
    q1: float
    median: float
    q3: float
    name: str
    region: int


@dataclass(frozen=True)
class Tick:
    """A number at an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Plot:
    """The marks, axes and boxes of one figure."""

    title: str
    description: str
    """The figure in words, for who does not see it."""
    marks: list[Mark]
    y_ticks: list[Tick]
    boxes: list[Box]
    x_ticks: list[Tick]
    diagonal: tuple[float, float, float, float] | None = None
    """Where both coordinates are equal: x and y of both ends."""


def distribution(title: str, columns: Mapping[str, Mapping[str, float]], unit: str = "") -> Plot | None:
    """Return a figure with a column of points and quartiles for each region; None where there is no value.

    Args:
        title: of the figure.
        columns: region → case → value; values that are not numbers are left out.
        unit: after each value.
    """
    known = {
        region: {case: value for case, value in of_cases.items() if math.isfinite(value)}
        for region, of_cases in columns.items()
    }
    values = [value for of_cases in known.values() for value in of_cases.values()]
    if not values:
        return None
    scale = _Scale(0.0, max(1.0, *values), HEIGHT - _BOTTOM, _TOP)
    width = (WIDTH - _LEFT - _RIGHT) / len(known)
    marks: list[Mark] = []
    boxes: list[Box] = []
    medians: list[str] = []
    for number, (region, of_cases) in enumerate(known.items()):
        centre = _LEFT + width * (number + 0.5)
        for place, (case, value) in enumerate(of_cases.items()):
            offset = ((place * _GOLDEN) % 1 - 0.5) * 2 * _SPREAD * width
            text = f"{case}: {region} {value:.3g}{unit}"
            marks.append(Mark(centre + offset, scale(value), case, number, text))
        if of_cases:
            q1, median, q3 = np.quantile(list(of_cases.values()), (0.25, 0.5, 0.75)).tolist()
            boxes.append(Box(centre, _SPREAD * width, scale(q1), scale(median), scale(q3), region, number))
            medians.append(f"{region} {median:.3g}{unit}")
    return Plot(title, f"{title}, median: {', '.join(medians)}", marks, scale.ticks(), boxes, [])


def agreement(title: str, volumes: Mapping[str, Mapping[str, tuple[float, float]]]) -> Plot | None:
    """Return a figure of predicted against reference volumes on logarithmic axes in ml; None where there are none.

    Args:
        title: of the figure.
        volumes: region → case → reference and predicted mm³.
    """
    largest = max((value for of_cases in volumes.values() for pair in of_cases.values() for value in pair), default=0.0)
    if not largest:
        return None
    top = math.log10(1 + largest / 1000)
    across = _Scale(0.0, top, _LEFT, WIDTH - _RIGHT)
    up = _Scale(0.0, top, HEIGHT - _BOTTOM, _TOP)

    def place(scale: _Scale, mm3: float) -> float:
        return scale(math.log10(1 + mm3 / 1000))

    marks = [
        Mark(
            place(across, reference),
            place(up, predicted),
            case,
            number,
            f"{case}: {region} {reference / 1000:.1f} ml, predicted {predicted / 1000:.1f} ml",
        )
        for number, (region, of_cases) in enumerate(volumes.items())
        for case, (reference, predicted) in of_cases.items()
    ]
    millilitres = [value for value in (0, 1, 3, 10, 30, 100, 300, 1000) if value * 1000 <= largest]
    return Plot(
        title,
        f"{title}, {len(marks)} points",
        marks,
        [Tick(place(up, 1000 * value), str(value)) for value in millilitres],
        [],
        [Tick(place(across, 1000 * value), str(value)) for value in millilitres],
        (across(0), up(0), across(top), up(top)),
    )


@dataclass(frozen=True)
class _Scale:
    """Map values from ``low`` to ``high`` to places from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)

    def ticks(self) -> list[Tick]:
        """Return four to eight round numbers."""
        step = 10 ** math.floor(math.log10(self.high))
        for divisor in (1, 2, 5):
            if self.high / step * divisor >= 4:
                step /= divisor
                break
        values: Sequence[float] = np.arange(self.low, self.high + step / 1000, step).tolist()
        return [Tick(self(value), f"{value:g}") for value in (round(value, 6) for value in values)]
