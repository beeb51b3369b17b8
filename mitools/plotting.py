"""Answers as matplotlib figures. Nothing is computed here, and nothing is shown: figures return."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mitools.results import EffectiveParameters
from mitools.selection import Selection

_INK, _KEPT, _BETWEEN = "#1b1f24", "#9aa5b1", "#2f6fb0"


def bounds(
    answers: Mapping[str, EffectiveParameters]
    | Sequence[EffectiveParameters]
    | EffectiveParameters,
    *,
    title: str | None = None,
) -> Figure:
    """Draw p_eff of several masks: weights kept, and the interval of information on top of it.

    Parameters
    ----------
    answers : EffectiveParameters, sequence of them, or mapping of names to them
        One row each, in order.
    title : str, optional
        Above the figure.

    Returns
    -------
    Figure
        Not shown and not saved; ``figure.savefig(path)`` does.

    Raises
    ------
    ValueError
        If there is no answer to draw.
    """
    if isinstance(answers, EffectiveParameters):
        answers = {"": answers}
    elif not isinstance(answers, Mapping):
        answers = {f"{number}": answer for number, answer in enumerate(answers)}
    if not answers:
        raise ValueError("answers must hold at least one EffectiveParameters; got none.")
    figure = Figure(figsize=(7.2, 0.9 + 0.46 * len(answers)), layout="constrained")
    axes = figure.subplots()
    for row, answer in enumerate(answers.values()):
        _draw(axes, row, answer)
    axes.set_yticks(range(len(answers)), list(answers))
    axes.invert_yaxis()
    axes.set_xlabel("parameters (weights kept + nats of the data in their choice)")
    axes.set_xlim(left=0)
    _finish_rows(figure, axes, title)
    return figure


def sandwich(table: pd.DataFrame, *, ceiling: float | None = None) -> Figure:
    """Draw the information in masks between its bounds, against density, a panel for each pruner.

    Parameters
    ----------
    table : DataFrame
        Columns pruner, density, lower, upper: limits in nats.
    ceiling : float, optional
        All there is to know, drawn as a line.

    Returns
    -------
    Figure
        Not shown and not saved.

    Raises
    ------
    ValueError
        If a column is missing, or the table is empty.
    """
    _check(table, "pruner", "density", "lower", "upper")
    names = list(dict.fromkeys(table["pruner"]))
    figure = Figure(figsize=(2.1 * len(names) + 0.6, 2.7), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        part = table.loc[table["pruner"] == name].sort_values(by="density")
        density, lower, upper = (part[c].to_numpy(float) for c in ("density", "lower", "upper"))
        axes.fill_between(density, lower, upper, color=_BETWEEN, alpha=0.3, linewidth=0)
        axes.plot(density, upper, color=_BETWEEN, marker="v", markersize=4, label="at most")
        axes.plot(density, lower, color=_INK, marker="^", markersize=4, label="at least")
        if ceiling is not None:
            axes.axhline(ceiling, color=_KEPT, linewidth=1, linestyle=":", label="all there is")
        axes.set_xscale("log")
        axes.set_xticks(density, [f"{d:.0%}" for d in density])
        axes.minorticks_off()
        axes.set_title(name, loc="left", fontsize=9, color=_INK)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("I(mask; label noise), nats")
    panels[len(names) // 2].set_xlabel("share of weights kept")
    _legend(figure, panels[0])
    return figure


def densities(table: pd.DataFrame, *, title: str | None = None) -> Figure:
    """Draw how dense a mask leaves each layer, nominally and counting only what lies on a path.

    Parameters
    ----------
    table : DataFrame
        Columns name, density, density_on_path and state, a row for each layer:
        ``report(model, mask, example_input).to_frame()``.
    title : str, optional
        Above the figure.

    Returns
    -------
    Figure
        Not shown and not saved. Density is on a logarithmic axis; a layer without a bar has none.

    Raises
    ------
    ValueError
        If a column is missing, or the table is empty.
    """
    _check(table, "name", "density", "density_on_path", "state")
    figure = Figure(figsize=(7.2, 1.1 + 0.24 * len(table)), layout="constrained")
    axes = figure.subplots()
    rows = range(len(table))
    nominal, wired = (table[c].to_numpy(float) for c in ("density", "density_on_path"))
    some = nominal[nominal > 0.0]
    left = min(some) / 2 if len(some) else 1e-4  # a bar on a logarithmic axis begins somewhere
    axes.barh(rows, nominal, height=0.7, color=_KEPT, label="kept")
    axes.barh(rows, wired, height=0.36, color=_BETWEEN, label="kept and on a path")
    if len(some):
        axes.set_xscale("log")
    axes.set_xlim(left, 1.0)
    for row, state in enumerate(table["state"]):
        axes.text(left, row, f"  {state}", va="center", fontsize=7, color=_INK)
    axes.set_yticks(rows, list(table["name"]), fontsize=8)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlabel("share of the layer's weights")
    _finish_rows(figure, axes, title)
    return figure


def path(selection: Selection, *, title: str | None = None) -> Figure:
    """Draw the steps of a search for features: what each was found to add, in order.

    Parameters
    ----------
    selection : Selection
        What `mitools.selection.terc`, or a search that it is compared with, answered.
    title : str, optional
        Above the figure; the search and how many it chose, without.

    Returns
    -------
    Figure
        Not shown and not saved.
    """
    steps = selection.steps
    figure = Figure(figsize=(7.2, 0.9 + 0.26 * len(steps)), layout="constrained")
    axes = figure.subplots()
    for row, step in enumerate(steps):
        color = _BETWEEN if step.kept else _KEPT
        width = step.phi if math.isfinite(step.phi) else 0.0
        if width != step.phi:
            axes.annotate(f"{step.phi:g}", (0.0, row), va="center", fontsize=8)
        axes.barh(row, width, height=0.6, color=color, label="kept" if step.kept else "dropped")
        if not step.testable:
            axes.plot(0.0, row, "|", color=_INK, markersize=9, label="not testable")
    axes.axvline(0.0, color=_INK, linewidth=0.8)
    axes.set_yticks(range(len(steps)), [str(step.feature) for step in steps])
    axes.invert_yaxis()
    adds = "what it adds to the features left at its turn"
    axes.set_xlabel(f"{adds if selection.search == 'TERC' else selection.search}, nats")
    count = f"{selection.search}: {len(selection.chosen)} of {len(selection.features)} features"
    _finish_rows(figure, axes, count if title is None else title)
    return figure


def _check(table: pd.DataFrame, *needed: str) -> None:
    missing = [column for column in needed if column not in table]
    if missing or table.empty:
        found = f"no {', '.join(missing)}" if missing else "no rows"
        raise ValueError(f"table must have rows with {', '.join(needed)}; it has {found}.")


def _finish_rows(figure: Figure, axes: Axes, title: str | None) -> None:
    """Leave only what a row for each name needs; put the title above, the legend below."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if title:
        axes.set_title(title, loc="left", fontsize=10, color=_INK)
    _legend(figure, axes)


def _legend(figure: Figure, axes: Axes) -> None:
    """Name every kind of mark once, below the figure."""
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(
        unique.values(),
        unique.keys(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=8,
    )


def _draw(axes: Axes, row: int, answer: EffectiveParameters) -> None:
    p_eff = answer.plain()
    axes.barh(row, answer.mean_nonzeros, height=0.55, color=_KEPT, label="weights kept")
    axes.barh(
        row,
        p_eff.high - p_eff.low,
        left=p_eff.low,
        height=0.28,
        color=_BETWEEN,
        alpha=0.55,
        label="p_eff lies here",
    )
    if p_eff.point is not None:
        axes.plot(
            p_eff.point,
            row,
            "D",
            color=_INK,
            markersize=5,
            linestyle="none",
            label="point estimate",
        )


def steepness(table: pd.DataFrame) -> Figure:
    """Draw measured Lipschitz constants against p_eff, from one of its limits to the other.

    Parameters
    ----------
    table : DataFrame
        Columns pruner, p_eff_low, p_eff_high, at_points and fitted, a row for each network, as of
        `mitools.experiments.robustness_scaling`. Networks that did not fit are left out.

    Returns
    -------
    Figure
        Not shown and not saved.

    Raises
    ------
    ValueError
        If a column is missing, or no network has fitted.
    """
    _check(table, "pruner", "p_eff_low", "p_eff_high", "at_points", "fitted")
    fitted = pd.DataFrame(table[table["fitted"]])
    if fitted.empty:
        raise ValueError("table must have networks that fitted; it has no row with fitted True.")
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for index, name in enumerate(dict.fromkeys(fitted["pruner"])):
        part = pd.DataFrame(fitted[fitted["pruner"] == name])
        low, high, steep = (
            part[column].to_numpy(float) for column in ("p_eff_low", "p_eff_high", "at_points")
        )
        axes.hlines(steep, low, high, color=f"C{index}", linewidth=1, alpha=0.6)
        axes.plot(low, steep, "o", color=f"C{index}", markersize=4, label=str(name))
    low, high = fitted["p_eff_low"].min(), fitted["p_eff_high"].max()
    least = fitted["at_points"].min() * (high / low) ** 0.5
    axes.plot([low, high], [least, fitted["at_points"].min()], ":", color=_KEPT, label="slope -1/2")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("p_eff, from its lower limit (the weights kept) to its upper one")
    axes.set_ylabel("largest gradient norm at points")
    axes.spines[["top", "right"]].set_visible(False)
    _legend(figure, axes)
    return figure
