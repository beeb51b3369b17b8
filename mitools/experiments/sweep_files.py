"""A sweep as a small TOML file, and its table as text: what `mitools sweep` reads and prints."""

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pandas as pd

import mitools.mipp
import mitools.pruning
import mitools.training
from mitools._validation import FileFormatError
from mitools.experiments.jobs import NAMED, ImageSet, Job
from mitools.experiments.sweep import grid
from mitools.models.named import check_name
from mitools.pruning import Pruner
from mitools.pruning.written import pruner_of, value_of
from mitools.training import Training

_EXAMPLES = {
    "models": 'models = "lenet-300-100"',
    "data": 'data = "digits", or data = {name = "mnist", images = 20000, flips = 0.1}',
    "pruners": 'pruners = ["snip", "imp", "OneShot(SNIP(), scope=\'layer\')"]',
    "densities": "densities = [0.1, 0.02]",
    "seeds": "seeds = 3, or seeds = [0, 1, 2]",
    "dense": "dense = true",
    "start": 'start = "ticket", or start = "init"',
    "peff": "peff = true",
    "training": '[training] and below it epochs = 20, optimizer = "SGD(lr=0.1)"',
}
"""The keys of a file, and what to write there."""

_MOST_SEEDS = 10_000
"""A larger number is a seed, and not how many."""

_NEEDED = ("models", "data", "pruners", "densities")


def read_sweep(path: str | Path) -> list[Job]:
    """Return the jobs that a TOML file asks for; docs/sweeps.md explains its keys.

    Raises
    ------
    FileFormatError
        If the file is not TOML.
    ValueError
        If a key is unknown or missing, or a value is none that it takes; the message names the
        key, what was found and what belongs there.
    OSError
        If the file cannot be read.
    """
    path = Path(path)
    try:
        asked = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # of TOML, or of its encoding
        raise FileFormatError(
            f"{path.name} must be a TOML file; {error}. Texts stand in quotation marks, lists in "
            "square brackets."
        ) from None
    _check_keys(path.name, asked, _EXAMPLES)
    missing = [key for key in _NEEDED if key not in asked]
    if missing:
        raise ValueError(
            f"{path.name} must say {', '.join(_NEEDED)}; there is no {missing[0]}. "
            f"For instance {_EXAMPLES[missing[0]]}."
        )
    read = {key: _read(path.name, key, asked[key], _READERS[key]) for key in asked}
    training = read.setdefault("training", Training())
    # What is written out trains as it is written, even if it equals what a name stands for.
    read["pruners"] = {
        label: _training_as(pruner, training) if label in NAMED else pruner
        for label, pruner in read["pruners"].items()
    }
    return grid(**read)


def table_of(means: Any) -> str:
    """Return what `mitools.experiments.summary` found as text for people.

    Columns that are the same in all rows are left out, accuracies are in percent, and ± is the
    standard deviation of one seed.
    """
    shown = pd.DataFrame({"pruner": means["pruner"]})
    for name in ("model", "data", "start"):
        if means[name].nunique() > 1:
            shown[name] = means[name]
    shown["density"] = means["density"].map("{:.4g}".format)
    for name in ("kept", "on_path"):
        shown[name.replace("_", " ")] = _numbers(means[name], "{:,.0f}")
    shown["before"] = _numbers(means["accuracy_before"], "{:.1%}")
    shown["accuracy"] = _numbers(means["accuracy"], "{:.2%}")
    if means["accuracy_sd"].notna().any():
        shown["±"] = _numbers(means["accuracy_sd"], "{:.2%}")
    if means["p_eff_high"].notna().any():
        ends = (_numbers(means[name], "{:,.0f}") for name in ("p_eff_low", "p_eff_high"))
        shown["p_eff"] = [f"{low} .. {high}" for low, high in zip(*ends, strict=True)]
    shown["seeds"] = means["seeds"]
    if means["failed"].any():
        shown["failed"] = means["failed"]
    shown["s a job"] = _numbers(means["seconds"], "{:.1f}")
    return shown.to_string(index=False)


def _numbers(column: Any, form: str) -> list[str]:
    return ["–" if pd.isna(value) else form.format(value) for value in column]


def _check_keys(place: str, found: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for key in found:
        if key not in known:
            near = get_close_matches(key, known, 1)
            cure = f"Did you mean {near[0]}?" if near else "Delete it."
            raise ValueError(f"{place} must have no keys but {', '.join(known)}; got {key}. {cure}")


def _read(name: str, key: str, value: Any, reader: Callable[[Any], Any]) -> Any:
    try:
        return reader(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}, {key}: {error} For instance {_EXAMPLES[key]}.") from None


def _models(value: Any) -> list[str]:
    names = [_text(name, "a model") for name in _list(value)]
    for name in names:
        check_name(name)
    return names


def _data(value: Any) -> list[ImageSet]:
    found: list[ImageSet] = []
    for given in _list(value):
        entry: Any = {"name": given} if isinstance(given, str) else given
        if not isinstance(entry, dict) or "name" not in entry:
            raise ValueError(f"data must be a name, or a table with one; got {entry!r}.")
        _check_keys("data", entry, {field.name: None for field in dataclasses.fields(ImageSet)})
        found.append(ImageSet(**entry))
    return found


def _pruners(value: Any) -> dict[str, Pruner]:
    found: dict[str, Pruner] = {}
    for text in (_text(entry, "a pruner") for entry in _list(value)):
        if text in NAMED:
            found[text] = NAMED[text]
        elif "(" in text:
            found[text] = pruner_of(text, mitools.mipp)
        else:
            raise ValueError(f"pruners must be among {', '.join(NAMED)}; got {text!r}.")
    return found


def _densities(value: Any) -> list[float]:
    shares = _list(value)
    for share in shares:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"densities must be numbers between 0 and 1; got {share!r}.")
    return [float(share) for share in shares]


def _seeds(value: Any) -> int | list[int]:
    seeds = _list(value)
    for seed in seeds:
        least = 0 if isinstance(value, list) else 1
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < least:
            raise ValueError(f"seeds must be a number of them or a list of seeds; got {seed!r}.")
    if not isinstance(value, list) and value > _MOST_SEEDS:
        raise ValueError(
            f"seeds must be at most {_MOST_SEEDS:,} of them; got {value:,}. One seed is [{value}]."
        )
    return value


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"it must be true or false; got {value!r}.")
    return value


def _start(value: Any) -> str:
    if value not in ("ticket", "init"):
        raise ValueError(f'start must be "ticket" or "init"; got {value!r}.')
    return value


def _training(value: Any) -> Training:
    if not isinstance(value, dict):
        raise ValueError(f"training must be a table; got {value!r}.")
    _check_keys("training", value, Training.__dataclass_fields__)
    written = ("optimizer", "schedule", "early_stopping")
    rebuilt = {
        key: value_of(_text(entry, key), mitools.training) if key in written else entry
        for key, entry in value.items()
    }
    return Training(**rebuilt)


_READERS: dict[str, Callable[[Any], Any]] = {
    "models": _models,
    "data": _data,
    "pruners": _pruners,
    "densities": _densities,
    "seeds": _seeds,
    "dense": _switch,
    "start": _start,
    "peff": _switch,
    "training": _training,
}


def _training_as(pruner: Pruner, training: Training) -> Pruner:
    if getattr(pruner, "training", None) is not None:
        return dataclasses.replace(pruner, training=training)  # pyright: ignore
    return pruner


def _list(value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError("it must not be empty; got [].")
    twice = [entry for i, entry in enumerate(values) if entry in values[:i]]
    if twice:
        raise ValueError(f"it must not say anything twice; got {twice[0]!r} again.")
    return values


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} must be a text in quotation marks; got {value!r}.")
    return value
