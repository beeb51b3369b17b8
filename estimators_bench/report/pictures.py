"""A small picture of each task: what a draw from it looks like."""

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from estimators_bench.report.markup import Markup, joined, tag
from estimators_bench.tasks.kinds import MaskTask, SampleTask, SelectionTask, Task
from mitools._typing import FloatArray

SIDE = 96
_POINTS, _STEPS, _MASKS, _WEIGHTS, _FEATURES = 350, 90, 16, 64, 40
_IMAGE = 64  # columns from which a square number of them is shown as an image


def picture(task: Task) -> Markup | None:
    """Return one or two panels that show a draw; None where the task cannot be drawn.

    Scalars are drawn against each other, vectors by their first columns, in four colours by
    quarters of what is not on an axis; time series along time; images as images; masks as rows of
    kept (dark) weights; features by what each tells alone, those of a smallest set coloured.
    """
    try:
        if isinstance(task, MaskTask):
            return _masks(task)
        if isinstance(task, SelectionTask):
            return _features(task)
        if task.question == "transfer_entropy":
            return _series(task)
        return _samples(task)
    except Exception:  # the sampler is anybody's, and a report must not fail by it
        return None


def _samples(task: SampleTask) -> Markup:
    data = task.draw(_POINTS, 0)
    drawn = [_spread(rows, kind) for rows, kind in zip(data, task.kinds, strict=True)]
    x, y = drawn[0], drawn[1]
    if _is_image(x):
        second = _image(y[:2]) if _is_image(y) else _cloud(x.mean(axis=1), y[:, 0], "x̄", "y")
        return joined(_image(x[:2]), second)
    if len(drawn) > 2:
        return _cloud(x[:, 0], y[:, 0], "x", "y", data[2][:, 0])
    if x.shape[1] == y.shape[1] == 1:
        return _cloud(x[:, 0], y[:, 0], "x", "y")
    first = _cloud(x[:, 0], y[:, 0], "x₁", "y₁")
    wide, other, letter = (x, data[1], "x") if x.shape[1] > 1 else (y, data[0], "y")
    return joined(first, _cloud(wide[:, 0], wide[:, 1], f"{letter}₁", f"{letter}₂", other[:, 0]))


def _spread(rows: FloatArray, kind: str) -> FloatArray:
    """Return rows to be drawn: symbols apart from each other, tails within the picture."""
    if kind == "discrete":
        noise = np.random.default_rng(0).uniform(-0.32, 0.32, rows.shape)
        return rows + noise
    low, high = np.quantile(rows, [0.02, 0.98], axis=0)
    room = 0.6 * (high - low)
    return np.where(room > 0.0, rows.clip(low - room, high + room), rows)


def _cloud(
    across: FloatArray, up: FloatArray, x: str, y: str, by: FloatArray | None = None
) -> Markup:
    """Return points in a square, coloured by quarters of a third variable."""
    places = np.column_stack([_scaled(across), SIDE - _scaled(up)]).round().astype(int)
    quarter = np.zeros(len(places), int)
    if by is not None:
        quarter = ((rankdata(by, "min") - 1) * 4 // len(by)).astype(int)
    paths = [
        tag(
            "path",
            d="".join(f"M{px} {py}h0" for px, py in np.unique(places[quarter == which], axis=0)),
            class_=f"q{which}",
        )
        for which in range(4)
        if (quarter == which).any()
    ]
    names = (
        tag("text", x, x=SIDE + 9, y=SIDE + 10, class_="tick end"),
        tag("text", y, x=-9, y=2, class_="tick"),
    )
    return _panel(*paths, *names)


def _series(task: SampleTask) -> Markup:
    parts = []
    for which, (rows, kind) in enumerate(zip(task.draw(_STEPS, 0), task.kinds, strict=True)):
        heights = _scaled(rows[:, 0]) * 0.44
        steps = np.linspace(0, 2 * SIDE + 18, len(rows)).round(1)
        top = SIDE * (0.48 + 0.52 * which)
        # A symbol lasts for its step.
        join = "H{0:g}V{1:g}" if kind == "discrete" else "L{0:g} {1:g}"
        path = "".join(
            join.format(px, round(top - h, 1)) for px, h in zip(steps, heights, strict=True)
        )
        parts.append(
            tag("path", d=f"M0 {round(top - heights[0], 1):g}{path}", class_=f"wave w{which}")
        )
    return _panel(*parts, wide=True)


def _masks(task: MaskTask) -> Markup:
    masks = np.asarray(task.draw(_MASKS, 0).masks)
    some = np.linspace(0, masks.shape[1] - 1, min(_WEIGHTS, masks.shape[1])).astype(int)
    shades = np.where(masks[:, some], 40, 225).astype(np.uint8)
    return _png(shades, 2 * SIDE + 18, SIDE)


def _features(task: SelectionTask) -> Markup:
    shown = min(task.features, _FEATURES)
    whole = max(task.truth.nats, 1e-12)
    chosen = min(task.minimal, key=lambda each: (len(each), sorted(each)))
    width = (2 * SIDE + 18) / shown
    bars = []
    for i in range(shown):
        height = round(SIDE * min(1.0, task.information(frozenset({i})) / whole), 1) + 2
        bars.append(
            tag(
                "rect",
                x=round(i * width, 1),
                y=SIDE + 2 - height,
                height=height,
                width=round(0.8 * width, 1),
                class_="part" if i in chosen else "other",
            )
        )
    return _panel(tag("path", d=f"M0 2H{2 * SIDE + 18}", class_="grid"), *bars, wide=True)


def _panel(*parts: Markup, wide: bool = False) -> Markup:
    width = 2 * SIDE + 18 if wide else SIDE
    return tag(
        "svg",
        *parts,
        viewBox=f"-10 -8 {width + 20} {SIDE + 20}",
        class_="thumb",
        width=width + 20,
        height=SIDE + 20,
        aria_hidden="true",
    )


def _is_image(rows: FloatArray) -> bool:
    return rows.shape[1] >= _IMAGE and int(rows.shape[1] ** 0.5) ** 2 == rows.shape[1]


def _image(rows: FloatArray) -> Markup:
    """Return two samples as images, side by side."""
    side = int(rows.shape[1] ** 0.5)
    shades = np.hstack([255 * _scaled(row).reshape(side, side) / SIDE for row in rows])
    return _png(shades.astype(np.uint8), SIDE * len(rows), SIDE)


def _scaled(values: FloatArray) -> FloatArray:
    """Return values between 0 and the side of a picture."""
    low, high = values.min(), values.max()
    return np.full(values.shape, SIDE / 2) if low == high else (values - low) / (high - low) * SIDE


def _png(shades: np.ndarray, width: int, height: int) -> Markup:
    """Return shades of grey, one byte each, as an image inside the page."""
    rows, columns = shades.shape
    lines = b"".join(b"\0" + row.tobytes() for row in shades)
    chunks: Sequence[tuple[bytes, bytes]] = (
        (b"IHDR", struct.pack(">2I5B", columns, rows, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    source = "data:image/png;base64," + base64.b64encode(data).decode()
    return tag("img", src=source, width=width, height=height, alt="", class_="pixels")
