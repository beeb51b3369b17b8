"""Ask a method, and label what it says."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from mitools import methods
from mitools._typing import FloatArray, Sense
from mitools._validation import UnreliableEstimate, as_samples, coded
from mitools.methods._cautions import cautions
from mitools.results import Estimate


def checked(method: Any, **arrays: Any) -> tuple[FloatArray, ...]:
    """Return arrays as samples; labels are fine where the method reads mere symbols."""
    samples = as_samples(symbolic_of(method, arrays), **arrays)
    check_labels(method, dict(zip(arrays, samples, strict=True)), arrays)
    return samples


def check_labels(
    method: Any, samples: dict[str, FloatArray], given: dict[str, Any], by_column: bool = False
) -> None:
    """Let a method that tells labels by how they repeat refuse those it cannot tell."""
    check = getattr(method, "check_labels", None)
    if check is None:
        return
    for name, rows in samples.items():
        if coded(name, given[name]) is not given[name]:
            columns = [column[:, None] for column in rows.T if _codes(column)]
            for part in columns if by_column else [rows]:
                check(name, part)


def _codes(column: FloatArray) -> bool:
    found = np.unique(column)
    return np.array_equal(found, np.arange(len(found)))


def symbolic_of(method: Any, names: Iterable[str]) -> frozenset[str]:
    """Return which of these arguments may hold labels; "x", "y" and "z" are the method's own."""
    known = getattr(method, "symbolic", frozenset())
    if isinstance(method, type):  # which lacks its parentheses, as will be said
        return frozenset()
    every = known >= {"x", "y", "z"}
    return frozenset(name for name in names if name in known or every)


def answered(
    quantity: str,
    question: str,
    method: Any,
    arguments: tuple[Any, ...],
    samples: dict[str, FloatArray],
    series: bool = False,
) -> Estimate:
    """Ask the method, and label what it says."""
    asked(question, method)
    chooser, method = method, chosen(method, arguments)
    plain = asked(question, method)
    knowing = getattr(method, f"{question}_with_error", None)
    told = None if knowing is None else knowing(*arguments)
    value = float(plain(*arguments) if told is None else told.value)
    notes = cautions(method, value, samples)
    if series:  # rows of an embedding follow each other by design
        notes = tuple(note for note in notes if not note.startswith("successive rows"))
    warn(notes, stacklevel=4)
    if method is not chooser:
        notes = (*notes, f"{type(chooser).__name__} chose this method for what the variables are")
    sense: Sense = getattr(method, "sense", "point")
    if question == "conditional_mutual_information":
        sense = getattr(method, "conditional_sense", sense)
    found = Estimate(value, repr(method), sense, quantity, notes=notes)
    if told is None:
        return found
    found = replace(found, notes=(*notes, *told.notes))
    return found.with_error(told.std_error, told.freedom, told.source)


def asked(question: str, method: Any) -> Callable[..., Any]:
    """Return the method's own answer to a question, if it has one."""
    if isinstance(method, type) or not callable(getattr(method, question, None)):
        raise TypeError(
            f"method must be an object that answers {question}; got {method!r}{_origin(method)}, "
            "which does not. Is it a class that lacks its parentheses? docs/choose.md lists who "
            "answers what."
        )
    return getattr(method, question)


def _origin(method: Any) -> str:
    """Say where a method is from that bears the name of one of `mitools.methods`."""
    kind = method if isinstance(method, type) else type(method)
    namesake = getattr(methods, kind.__name__, kind)
    return "" if namesake is kind else f" of {kind.__module__}"


def chosen(method: Any, arguments: tuple[Any, ...]) -> Any:
    """Return the method that a method chooses for these arguments; itself if it does not choose."""
    choose = getattr(method, "chosen", None)
    return method if choose is None else choose(*arguments)


def warn(notes: tuple[str, ...], stacklevel: int = 3) -> None:
    """Say every note as a warning, at the caller's line."""
    for note in notes:
        warnings.warn(note, UnreliableEstimate, stacklevel=stacklevel)
