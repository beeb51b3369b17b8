"""Ask a method, and label what it says."""

import warnings
from collections.abc import Callable
from typing import Any

from mitools._typing import FloatArray, Sense
from mitools._validation import UnreliableEstimate
from mitools.methods._cautions import cautions
from mitools.results import Estimate


def answered(
    quantity: str,
    question: str,
    method: Any,
    arguments: tuple[Any, ...],
    samples: dict[str, FloatArray],
    series: bool = False,
) -> Estimate:
    """Ask the method, and label what it says."""
    value = float(asked(question, method)(*arguments))
    notes = cautions(method, value, samples)
    if series:  # rows of an embedding follow each other by design
        notes = tuple(note for note in notes if not note.startswith("successive rows"))
    warn(notes, stacklevel=4)
    sense: Sense = getattr(method, "sense", "point")
    if question == "conditional_mutual_information":
        sense = getattr(method, "conditional_sense", sense)
    return Estimate(value, repr(method), sense, quantity, notes=notes)


def asked(question: str, method: Any) -> Callable[..., Any]:
    if isinstance(method, type) or not callable(getattr(method, question, None)):
        raise TypeError(
            f"method must be an object that answers {question}; got {method!r}, which does not. "
            "Is it a class that lacks its parentheses? docs/choose.md lists who answers what."
        )
    return getattr(method, question)


def warn(notes: tuple[str, ...], stacklevel: int = 3) -> None:
    for note in notes:
        warnings.warn(note, UnreliableEstimate, stacklevel=stacklevel)
