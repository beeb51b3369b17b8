"""The page, the terminal table and the figures: whole, self-contained, safe, and the same twice."""

import datetime
import json
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_records import frame, row, varied
from matplotlib.figure import Figure

import estimators_bench
from estimators_bench.report import charts, figures, page, pictures, summary, terminal
from estimators_bench.report.markup import Markup, joined, tag
from estimators_bench.report.wording import brief, memory, nats, percent, seconds
from estimators_bench.tasks import MaskData, MaskTask, SampleTask, SelectionTask, Truth

NAUGHTY = '<script>alert("1")</script>\' onload=x & "'
MADE = datetime.date(2026, 1, 2)
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Reads a page strictly: every element must be closed, in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.tables, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name == "table":
            self.tables.append([])
        if name == "tr":
            self.tables[-1].append([])
        if name in ("td", "th"):
            self.tables[-1][-1].append("")
        if name not in VOID:
            self.open.append(name)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name):
        assert self.open and self.open[-1] == name, f"{name} closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, text):
        self.texts.append(text)
        if {"td", "th"} & set(self.open) and self.tables and "title" not in self.open:
            self.tables[-1][-1][-1] += text


def normal(n, rng, d=1):
    x = rng.standard_normal((n, d))
    return x, x + rng.standard_normal((n, d))


def masks(n, rng):
    return MaskData(rng.random((n, 64)) < 0.5, (64,))


TASKS = {
    "t0": SampleTask("t0", "Family", Truth(1.0), normal, about="The first."),
    "m": MaskTask("m", "Masks", Truth(40.0), masks, 64),
    "s": SelectionTask(
        "s", "Choices", normal, 3, lambda s: float(len(s & {0, 2})), (frozenset({0, 2}),)
    ),
}


@pytest.fixture(scope="module")
def text():
    return page.page(varied(), {}, TASKS, MADE)


def test_the_page_is_sound(text):
    found = Reader(text)
    names = [name for name, _ in found.elements]
    assert names.count("h1") == names.count("main") == 1
    assert {"table", "caption", "thead", "tbody", "svg", "dl"} <= set(names)
    identities = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    links = [a["href"][1:] for name, a in found.elements if name == "a"]
    assert len(set(identities)) == len(identities) and set(links) <= set(identities)
    for table in found.tables:
        assert len({len(line) for line in table}) == 1, table[:2]


def test_the_page_needs_nothing_but_itself(text):
    for name, attributes in Reader(text).elements:
        assert name not in {"link", "iframe", "object", "base"}
        for key in ("src", "href", "action", "data"):
            assert attributes.get(key, "#").startswith(("#", "data:image/png;base64,"))
        assert not any(key.startswith("on") for key in attributes)
    assert "url(" not in text and "@import" not in text and "http" not in text.split("<style>")[1]
    metas = [attributes for name, attributes in Reader(text).elements if name == "meta"]
    assert any("default-src 'none'" in each.get("content", "") for each in metas)


def test_the_page_says_what_was_found(text):
    whole = " ".join(Reader(text).texts)
    assert "2026-01-02" in whole and "90: 84 ok, 6 timed out" in whole
    assert "python -m estimators_bench run -n 100 1000 --prunings 16 --seeds 3" in whole
    found = Reader(text)
    board = next(table for table in found.tables if table[0][:2] == ["contender", "rank"])
    assert [line[0] for line in board[1:]] == ["good", "poor", "late"]
    table = summary.boards(varied())[0].table
    assert board[1][3] == nats(table["mae"][0]) and board[3][-2] == "3"
    heat = next(table for table in found.tables if table[0][:2] == ["task", "truth"])
    cell = summary.boards(varied())[0].cells.set_index(["task", "contender"])
    assert heat[1][0] == "t0" and heat[1][2] == brief(cell.loc[("t0", "good"), "error"])
    assert heat[1][4] == "!" and heat[2][4] == "·"
    glance = next(table for table in found.tables if table[0][:2] == ["tasks", "first"])
    best = summary.in_hindsight(summary.boards(varied())[0])
    assert glance[0][5].startswith("others, in hindsight") and glance[1][5] == nats(best.mae)
    assert "100✓" in [line[2] for table in found.tables for line in table if len(line) > 2]


def test_wrong_bounds_are_marked(text):
    cells = [cell for table in Reader(text).tables for line in table for cell in line]
    assert "50.0✗" in cells and "60.0" in cells


def test_colours_tell_too_low_from_too_high():
    rows = [row("t", name, error) for name, error in (("low", -0.25), ("high", 4.0), ("even", 0.0))]
    cells = [
        (attributes["class"], attributes.get("style"))
        for name, attributes in Reader(page.page(frame(*rows), {}, {}, MADE)).elements
        if name == "td" and attributes.get("class") in ("below", "above")
    ]
    assert sorted(cells) == [("above", "--t:100"), ("below", "--t:50")]


@pytest.mark.parametrize("name", ["task", "family", "contender", "package", "message", "version"])
def test_nothing_that_was_recorded_becomes_markup(name):
    rows = [row("t0", "a", 0.1), row("t1", "a", status="failed", message="plain")]
    rows += [row("t0", "b", 0.2, n=100), row("t0", "b", 0.2)]
    for each in rows[: 4 if name == "family" else 2]:  # a family must be that of all
        each[name] = NAUGHTY
    about = {"setting": {NAUGHTY: NAUGHTY, "processor": NAUGHTY}, "command": NAUGHTY}
    text = page.page(frame(*rows), about, TASKS, MADE)
    found = Reader(text)
    assert [n for n, _ in found.elements].count("script") == 1
    assert not any(key.startswith("on") for _, a in found.elements for key in a)
    assert NAUGHTY in "".join(found.texts)
    assert "alert(" not in text.split("<script>")[1]


def test_tasks_that_cannot_be_drawn_are_told_in_words():
    def broken(n, rng):
        raise RuntimeError("no")

    tasks = {"t0": SampleTask("t0", NAUGHTY, Truth(1.0), broken, about=NAUGHTY)}
    text = page.page(frame(row("t0"), row("mine")), {}, tasks, MADE)
    assert NAUGHTY in "".join(Reader(text).texts) and "mine" in text


def test_equal_records_make_equal_pages(tmp_path):
    for name in ("a.html", "b.html"):
        page.write(varied(), tmp_path / name, {}, TASKS, MADE)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_the_page_reads_what_lies_beside_it(tmp_path):
    about = {"setting": {"processor": "Quick", "cores": "3", "torch": "9.9"}, "command": "do it"}
    (tmp_path / "run.json").write_text(json.dumps(about))
    page.write(frame(row()), str(tmp_path / "p.html"), tasks={})
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "Quick, 3 cores" in text and "torch 9.9" in text and "do it" in text


@pytest.mark.parametrize(
    "rows",
    [
        [row(status="failed")],
        [row(status="failed", n=n) for n in (10, 20)],
        [row(error=0.0, seconds=0.0, n=n) for n in (10, 20)],
        [row(sense="proxy", value=1e9)],
        [row(truth=0.0, value=0.0, kind="masks", question="mask_information", sense="upper")],
        [row(value=-1e300, contender=str(i)) for i in range(3)],
        [row(truth=0.0, value=0.0, kind="selection", question="selection")],
        [row(f"t{i}", f"c{j}", 0.1 * j) for i in range(2) for j in range(60)],
    ],
    ids=["failed", "failed twice", "exact", "proxy", "masks", "huge", "choice", "many"],
)
def test_odd_records_have_a_page_too(rows):
    found = frame(*rows)
    Reader(page.page(found, {}, {}, MADE))
    assert terminal.table(found)


def test_no_records_are_said_to_be_none():
    assert terminal.table(varied().iloc[:0]) == "no records"
    with pytest.raises(ValueError, match="at least one record"):
        page.page(varied().iloc[:0], {})


def test_a_run_is_reported_as_it_comes(tmp_path):
    found = estimators_bench.run(
        ["normal-1x1", "mask-lookup-16", "exclusive-or"],
        ["Gaussian", "counting", "sequential-forward", "Adaptive partition"],
        sizes=(60, 120),
        seeds=1,
        prunings=(4,),
        out=tmp_path,
        jobs=1,
        progress=False,
    )
    page.write(found, tmp_path / "report.html")
    whole = "".join(Reader((tmp_path / "report.html").read_text(encoding="utf-8")).texts)
    assert all(name in whole for name in ("normal-1x1", "mask-lookup-16", "exclusive-or", "numpy"))
    assert "Gaussian" in terminal.table(found)


# Terminal -----------------------------------------------------------------------------------------


def test_the_terminal_table_is_at_most_a_hundred_wide():
    rows = [
        row(
            f"t{i}",
            "a contender with a very long name indeed",
            1e4 * (i + 1),
            seconds=1e5,
            interval=(0.0, 2.0),
            family="F" * 200,
        )
        for i in range(12)
    ]
    for found in (varied(), frame(*rows)):
        lines = terminal.table(found).splitlines()
        assert max(map(len, lines)) <= terminal.WIDTH
    assert "a contender with a very…" in terminal.table(frame(*rows))


def test_the_terminal_table_says_what_was_found():
    told = terminal.table(varied(), most=2)
    lines = told.splitlines()
    assert lines[0] == "Family, 1,000 samples" and lines[2].startswith("  1 good")
    assert "    and 1 more, on the page" in lines
    assert any(line.startswith("    decode") and " 100%" in line for line in lines)


def test_the_terminal_is_not_commanded():
    assert "\x1b" not in terminal.table(frame(row(contender="\x1b[2Jred", family="\x1b]0;x")))


# Figures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_figures_are_the_same_twice(tmp_path, suffix):
    found = varied()
    board = summary.boards(found)[0]
    for draw in (lambda: figures.leaderboard(board), lambda: figures.growth(found, board)):
        paths = [tmp_path / f"{i}.{suffix}" for i in range(2)]
        for path in paths:
            figure = draw()
            assert isinstance(figure, Figure)
            figures.save(figure, path)
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_figures_show_the_numbers():
    found = varied()
    board = summary.boards(found)[0]
    axes = figures.leaderboard(board).axes[0]
    dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert dots == board.table["iqm"].dropna().tolist()
    lines = figures.growth(found, board).axes[0].lines
    np.testing.assert_array_equal(lines[0].get_ydata(), summary.by_size(found)["good"])


def test_figures_need_something_to_show():
    (board,) = summary.boards(frame(row("$x", status="failed")))
    with pytest.raises(ValueError, match="came back"):
        figures.leaderboard(board)
    with pytest.raises(ValueError, match="two sizes"):
        figures.growth(frame(row()), board)


# Parts --------------------------------------------------------------------------------------------


def test_markup_escapes_text_and_attributes():
    made = tag("p", NAUGHTY, tag("b", "x"), None, 3, ["y", tag("br")], title=NAUGHTY, id=None)
    (name, attributes), *rest = Reader(made).elements
    assert (name, attributes) == ("p", {"title": NAUGHTY})
    assert [n for n, _ in rest] == ["b", "br"]
    assert isinstance(joined("<", made), Markup) and joined("<") == "&lt;"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (nats(0.12345), "0.123"),
        (nats(-0.0001, True), "0.000"),
        (nats(-0.12, True), "−0.120"),
        (nats(12.345, True), "+12.35"),
        (nats(9.9999), "10.00"),
        (nats(123456.0), "123,456"),
        (nats(math.nan), "–"),
        (nats(-math.inf), "−∞"),
        (brief(-0.123), "−.12"),
        (brief(0.001), "0"),
        (brief(0.999), "+1.0"),
        (brief(1.25), "+1.2"),
        (brief(-12.4), "−12"),
        (brief(1e6), "+1e6"),
        (seconds(0.00071), "0.71 ms"),
        (seconds(0.0000034), "0.0034 ms"),
        (seconds(0.0), "< 0.001 ms"),
        (seconds(0.25), "250 ms"),
        (seconds(0.9999), "1.0 s"),
        (seconds(1234.0), "1,234 s"),
        (memory(2.5e6), "2.5 MB"),
        (percent(1, 3), "33%"),
        (percent(0, 0), "–"),
    ],
)
def test_numbers_are_short(told, said):
    assert told == said


def test_charts_put_points_where_they_belong():
    axis = charts.Axis(1.0, 100.0, 0.0, 200.0)
    assert [axis.at(value) for value in (1, 10, 100)] == [0.0, 100.0, 200.0]
    assert axis.ticks() == [1, 2, 5, 10, 20, 50, 100]
    drawn = charts.lines({"a": [(10, 1), (100, 0.1)], "b": [(10, 2), (100, 2)]}, "n", "e", "About")
    root = ET.fromstring(drawn)
    assert root.find("title").text == "About"
    first, second = (line.get("points").split() for line in root.findall("polyline"))
    heights = [[float(point.split(",")[1]) for point in line] for line in (first, second)]
    assert heights[0][0] < heights[0][1] and heights[1][0] == heights[1][1] < heights[0][0]
    names = [each for each in root.findall("text") if "name" in each.get("class")]
    assert [each.text for each in names] == ["b", "a"]


def test_names_in_a_scatter_do_not_cover_each_other():
    rng = np.random.default_rng(0)
    points = {f"method {i}": tuple(rng.random(2) + 0.1) for i in range(15)}
    root = ET.fromstring(charts.scatter(points, "x", "y", "About"))
    spots = [
        (float(t.get("y")), float(t.get("x")), "end" in t.get("class"), len(t.text))
        for t in root.findall("text")
        if "name" in t.get("class")
    ]
    assert 8 <= len(spots) <= 15
    boxes = [(x - 6 * n if end else x, x if end else x + 6 * n, y) for y, x, end, n in spots]
    for i, (left, right, y) in enumerate(boxes):
        for other_left, other_right, other_y in boxes[:i]:
            apart = right < other_left or other_right < left or abs(y - other_y) > 9
            assert apart


def test_lines_are_named_apart():
    assert charts._apart([5.0, 5.0, 5.0]) == pytest.approx([-9.0, 5.0, 19.0], abs=0.2)
    assert charts._apart([0.0, 100.0]) == [0.0, 100.0]


def wide(n, rng):
    x = rng.standard_normal((n, 3))
    return x, x[:, :2] + rng.standard_normal((n, 2))


def image(n, rng):
    return rng.random((n, 256)), rng.random((n, 256))


def given(n, rng):
    return tuple(rng.integers(0, 3, (3, n, 1)).astype(float))


@pytest.mark.parametrize(
    ("task", "parts"),
    [
        (TASKS["t0"], {"svg": 1}),
        (SampleTask("w", "W", Truth(1.0), wide, dims=(3, 2)), {"svg": 2, "path": 5}),
        (SampleTask("i", "I", Truth(1.0), image, dims=(256, 256)), {"img": 2}),
        (
            SampleTask(
                "z",
                "Z",
                Truth(1.0),
                given,
                (1,) * 3,
                ("discrete",) * 3,
                "conditional_mutual_information",
            ),
            {"svg": 1, "path": 3},
        ),
        (
            SampleTask("s", "S", Truth(1.0), normal, question="transfer_entropy"),
            {"svg": 1, "path": 2},
        ),
        (TASKS["m"], {"img": 1}),
        (TASKS["s"], {"svg": 1, "rect": 3, "path": 1}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_pictures_are_small_and_whole(task, parts):
    drawn = pictures.picture(task)
    assert len(drawn) < 9_000
    names = [name for name, _ in Reader(drawn).elements]
    assert {name: names.count(name) for name in parts} == parts
    assert drawn == pictures.picture(task)


def test_features_are_drawn_by_what_they_tell():
    bars = [a for name, a in Reader(pictures.picture(TASKS["s"])).elements if name == "rect"]
    assert [bar["class"] for bar in bars] == ["part", "other", "part"]
    assert float(bars[0]["height"]) == pytest.approx(pictures.SIDE / 2 + 2)
    assert float(bars[1]["height"]) == 2.0


def colours():
    css = (Path(page.__file__).parent / "page.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    return [dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", part)) for part in (light, dark)]


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(parts, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("which", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_on_every_ground(which):
    colour = {name: luminance(code) for name, code in colours()[which].items()}

    def contrast(first, second):
        low, high = sorted((colour[first], colour[second]))
        return (high + 0.05) / (low + 0.05)

    for ground in ("paper", "panel", "below", "above"):
        assert contrast("ink", ground) >= 4.5, ground
    for ink in ("soft", "bad", "good", "accent"):
        assert contrast(ink, "paper") >= 4.5 and contrast(ink, "panel") >= 4.5, ink
    for i in range(8):
        assert contrast(f"c{i}", "paper") >= 3.0, i
