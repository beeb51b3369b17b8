"""Answers as matplotlib figures. Nothing is computed here, and nothing is shown: figures return."""

from collections.abc import Mapping, Sequence

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
