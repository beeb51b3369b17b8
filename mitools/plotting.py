"""Answers as matplotlib figures. Nothing is computed here, and nothing is shown: figures return."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mitools.results import EffectiveParameters

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
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(left=0)
    if title:
        axes.set_title(title, loc="left", fontsize=10, color=_INK)
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
    missing = {"pruner", "density", "lower", "upper"} - set(table.columns)
    if missing or table.empty:
        found = f"no {', '.join(sorted(missing))}" if missing else "no rows"
        raise ValueError(
            f"table must have rows with pruner, density, lower and upper; it has {found}."
        )
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
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


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
