"""What questions answer with: frozen values that say what they are and print themselves."""

import json
import math
import re
import textwrap
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd
from scipy.stats import t as student_t

from mitools._files import replacing
from mitools._typing import Json, Sense, Unit
from mitools._validation import FileFormatError, checked_choice

NATS_PER_BIT = math.log(2.0)
_ERROR = "standard error"
"""How the note begins that tells where an error comes from."""
_SIGN = {"point": "=", "lower": ">=", "upper": "<=", "proxy": "~"}


@dataclass(frozen=True, slots=True)
class Estimate:
    """An amount of information: how much, by what method, in which sense, how surely.

    Parameters
    ----------
    value : float
        In nats; see `bits`.
    method : str
        The repr of the method: enough to obtain the number again.
    sense : {"point", "lower", "upper", "proxy"}
        What the number is. Bounds hold in expectation over the data; `interval` adds how surely.
    quantity : str
        What is estimated or bounded, such as ``"I(X; Y)"``.
    std_error : float or None
        Standard error of `value`, in nats; None where nobody estimated it.
    interval : tuple of two floats, or None
        Where the information lies, in nats, at the stated `confidence`. The interval of a bound is
        one-sided: the other end is infinite.
    confidence : float
        Coverage of `interval`, in (0, 1).
    notes : tuple of str
        What a careful reader must know: assumptions, saturation, caps.
    """

    value: float
    method: str
    sense: Sense = "point"
    quantity: str = "I(X; Y)"
    std_error: float | None = None
    interval: tuple[float, float] | None = None
    confidence: float = 0.95
    notes: tuple[str, ...] = ()

    @property
    def bits(self) -> float:
        """The value in bits."""
        return self.value / NATS_PER_BIT

    @property
    def limit(self) -> float:
        """The end of the interval that matters to a bound; the value where there is no interval."""
        if self.interval is None or self.sense not in ("lower", "upper"):
            return self.value
        return self.interval[0] if self.sense == "lower" else self.interval[1]

    def with_error(
        self, std_error: float, freedom: int, source: str, confidence: float = 0.95
    ) -> Self:
        """Return this estimate with a standard error, and Student's interval around it.

        The interval of a bound is one-sided, a proxy has none, and where the error is no number
        neither is given. What said an error before, with its note, is replaced.

        Parameters
        ----------
        std_error : float
            In nats.
        freedom : int
            Its degrees of freedom.
        source : str
            What it was estimated from, as the note will say.
        confidence : float
            Nominal coverage of the interval.
        """
        notes = tuple(note for note in self.notes if not note.startswith(_ERROR))
        if not math.isfinite(std_error):
            return replace(self, notes=notes, std_error=None, interval=None)
        tail = (1.0 - confidence) / (2.0 if self.sense == "point" else 1.0)
        margin = float(student_t.isf(tail, freedom)) * std_error
        low = -math.inf if self.sense == "upper" else self.value - margin
        high = math.inf if self.sense == "lower" else self.value + margin
        return replace(
            self,
            std_error=std_error,
            interval=None if self.sense == "proxy" else (low, high),
            confidence=confidence,
            notes=(*notes, f"{_ERROR} {source}"),
        )

    def to_dict(self) -> Json:
        """Return plain values, ready for JSON: what is not finite becomes its name."""
        plain = asdict(self)
        plain["notes"] = list(self.notes)
        plain["value"] = _written(self.value)
        plain["std_error"] = None if self.std_error is None else _written(self.std_error)
        if self.interval is not None:
            plain["interval"] = [_written(end) for end in self.interval]
        return plain

    @classmethod
    def from_dict(cls, plain: Json) -> Self:
        """Rebuild an estimate from `to_dict`."""
        values = dict(plain)
        values["value"] = float(values["value"])
        values["notes"] = tuple(str(note) for note in values.get("notes", ()))
        if values.get("std_error") is not None:
            values["std_error"] = float(values["std_error"])
        if values.get("interval") is not None:
            low, high = values["interval"]
            values["interval"] = (float(low), float(high))
        if values.get("sense") not in _SIGN:
            raise ValueError(f"sense must be one of {list(_SIGN)}; got {values.get('sense')!r}")
        return cls(**values)

    def __str__(self) -> str:
        error = "" if self.std_error is None else f" ± {self.std_error:.2g}"
        return f"{self.quantity} {_SIGN[self.sense]} {self.value:.4g}{error} nats [{self.method}]"


@dataclass(frozen=True, slots=True)
class LayerCount:
    """One prunable tensor: its name, its size, and how many of its weights a mask keeps.

    ``on_path`` counts the kept weights that lie on some path from input to output; None where
    nobody traced the network.
    """

    name: str
    size: int
    kept: int
    on_path: int | None = None

    @property
    def density(self) -> float:
        """Share of the weights that is kept; 0 for an empty tensor."""
        return self.kept / self.size if self.size else 0.0


@dataclass(frozen=True, slots=True)
class Range:
    """p_eff between its bounds, with the point between them where there is ground for one."""

    low: float
    high: float
    point: float | None
    unit: Unit
    form: Literal["plain", "theorem 4"]

    def __str__(self) -> str:
        point = "" if self.point is None else f" (point {self.point:,.1f})"
        return f"{self.low:,.1f} .. {self.high:,.1f}{point}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveParameters:
    """p_eff = E‖m‖₁ + I(m; D): the weights kept, and what choosing them revealed of the data.

    Parameters
    ----------
    nonzeros, size : int
        Weights kept, and weights that could have been kept.
    mean_nonzeros : float
        E‖m‖₁. Pruners here keep an exact number, so it is `nonzeros`, unless masks say otherwise.
    lower, upper : Estimate
        The best bound on the information from each side.
    quantity : str
        The information that both bounds are about.
    point : Estimate or None
        An estimate between them, where there is ground for one.
    bounds : tuple of Estimate
        Every bound that was tried, the best ones included.
    layers : tuple of LayerCount
        What was counted, tensor by tensor.
    excluded : tuple of str
        Parameters that were not counted, with the reason.
    source : str
        Where the mask came from.
    weights : str
        Which data-independent weights the network had when the bounds were evaluated.
    notes : tuple of str
        What a careful reader must know.

    References
    ----------
    Kumar, Luo and Sellke, *No Free Prune*, arXiv 2402.01089, Theorems 2 and 4.
    """

    nonzeros: int
    size: int
    mean_nonzeros: float
    lower: Estimate
    upper: Estimate
    quantity: str = "I(mask; data | init)"
    point: Estimate | None = None
    bounds: tuple[Estimate, ...] = ()
    layers: tuple[LayerCount, ...] = ()
    excluded: tuple[str, ...] = ()
    source: str = "given"
    weights: str = "none needed"
    notes: tuple[str, ...] = field(default=())

    @property
    def density(self) -> float:
        """Share of the prunable weights that is kept."""
        return self.nonzeros / self.size if self.size else 0.0

    @property
    def on_path(self) -> int | None:
        """Kept weights on some input-output path; None where nobody traced the network."""
        counts = [layer.on_path for layer in self.layers]
        return None if not counts or None in counts else sum(c for c in counts if c is not None)

    def plain(self, unit: Unit = "nats") -> Range:
        """p_eff as E‖m‖₁ + I(m; D), the information in nats or in bits (Theorem 2).

        From limit to limit: the ends hold with the confidence that was asked for.

        Raises
        ------
        ValueError
            If unit is neither "nats" nor "bits".
        """
        return self._range(self.mean_nonzeros, unit, "plain")

    def theorem4(self, *, diameter: float, lipschitz: float, epsilon: float) -> Range:
        """p_eff as I(m; D) + E‖m‖₁ · log₂(1 + 60 W J / ε), in bits (Theorem 4).

        Parameters
        ----------
        diameter : float
            W, the diameter of the set of weights.
        lipschitz : float
            J, the Lipschitz constant of the map from weights to functions in the sup norm.
        epsilon : float
            ε, how far below the noise level the network fits.

        Raises
        ------
        ValueError
            If one of the three is not positive and finite.
        """
        for name, value in (("diameter", diameter), ("lipschitz", lipschitz), ("epsilon", epsilon)):
            if not (0.0 < value < math.inf):
                raise ValueError(f"{name} must be positive and finite; got {value!r}.")
        bits_per_weight = math.log2(1.0 + 60.0 * diameter * lipschitz / epsilon)
        return self._range(self.mean_nonzeros * bits_per_weight, "bits", "theorem 4")

    def _range(self, count: float, unit: Unit, form: Literal["plain", "theorem 4"]) -> Range:
        checked_choice("unit", unit, ("nats", "bits"))
        scale = 1.0 if unit == "nats" else NATS_PER_BIT
        point = None if self.point is None else count + self.point.value / scale
        low, high = count + self.lower.limit / scale, count + self.upper.limit / scale
        return Range(low, high, point, unit, form)

    def to_frame(self) -> pd.DataFrame:
        """Return one row of plain columns, in nats; concatenate the rows of many answers.

        ``mi_proxy`` is what `ResampledMasks` says of resamples of the same points: a number about
        ``proxy_quantity``, which bounds nothing. Where there is no number, notes say why.
        """
        p_eff = self.plain()
        proxies = [bound for bound in self.bounds if bound.sense == "proxy"]
        proxy = proxies[0] if proxies else None
        row: dict[str, Any] = {
            "nonzeros": self.nonzeros,
            "size": self.size,
            "density": self.density,
            "on_path": self.on_path,
            "mi_lower": self.lower.value,
            "mi_lower_limit": self.lower.limit,
            "mi_upper": self.upper.value,
            "mi_upper_limit": self.upper.limit,
            "mi_point": None if self.point is None else self.point.value,
            "mi_proxy": None if proxy is None else proxy.value,
            "p_eff_low": p_eff.low,
            "p_eff_high": p_eff.high,
            "p_eff_point": p_eff.point,
            "quantity": self.quantity,
            "lower_method": self.lower.method,
            "upper_method": self.upper.method,
            "proxy_quantity": None if proxy is None else proxy.quantity,
            "notes": "; ".join(self.notes),
        }
        return pd.DataFrame([row])

    def to_json(self) -> str:
        """Return JSON text that `from_json` reads back to an equal value."""
        plain = {
            **asdict(self),
            "lower": self.lower.to_dict(),
            "upper": self.upper.to_dict(),
            "point": None if self.point is None else self.point.to_dict(),
            "bounds": [bound.to_dict() for bound in self.bounds],
        }
        return json.dumps(plain, indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild an answer from `to_json`.

        Raises
        ------
        FileFormatError
            If text is not JSON, or not the JSON of such an answer.
        """
        try:
            plain = json.loads(text)
            plain["lower"] = Estimate.from_dict(plain["lower"])
            plain["upper"] = Estimate.from_dict(plain["upper"])
            if plain["point"] is not None:
                plain["point"] = Estimate.from_dict(plain["point"])
            plain["bounds"] = tuple(Estimate.from_dict(bound) for bound in plain["bounds"])
            plain["layers"] = tuple(LayerCount(**layer) for layer in plain["layers"])
            plain["excluded"] = tuple(plain["excluded"])
            plain["notes"] = tuple(plain["notes"])
            nonzeros, size = plain["nonzeros"], plain["size"]
            if not (isinstance(nonzeros, int) and isinstance(size, int) and 0 <= nonzeros <= size):
                raise ValueError(f"nonzeros and size must be counts; got {nonzeros!r} of {size!r}")
            return cls(**plain)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FileFormatError(
                f"text must be what EffectiveParameters.to_json wrote; reading it failed with "
                f"{type(error).__name__}: {error}. Was the file cut short or edited?"
            ) from None

    def save(self, path: str | Path) -> None:
        """Write `to_json` to a file, all of it or nothing."""
        with replacing(Path(path)) as partial:
            partial.write_text(self.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote."""
        return cls.from_json(Path(path).read_text(encoding="utf-8", errors="replace"))

    def __str__(self) -> str:
        on_path = "" if self.on_path is None else f", {self.on_path:,} of them on a path"
        told = [self.lower, self.upper, self.point]
        told += [bound for bound in self.bounds if bound.sense == "proxy"]
        lines = [
            f"p_eff = {self.plain()} parameters (weights kept + nats)",
            f"  kept         {self.nonzeros:,} of {self.size:,} weights "
            f"({self.density:.2%}){on_path}",
            f"  information  {self.quantity}, in nats",
        ]
        lines.extend(f"               {_describe(bound)}" for bound in told if bound is not None)
        lines.append(f"  mask         {brief(self.source)}")
        lines.append(f"  weights      {self.weights}")
        if self.excluded:
            lines.append(f"  not counted  {_shortened(self.excluded)}")
        lines.extend(noted(self.notes, 15))
        return "\n".join(lines)


def _describe(bound: Estimate) -> str:
    sure = "" if bound.limit == bound.value else f" ({bound.confidence:.0%}: {bound.limit:.4g})"
    what = f", {bound.quantity}" if bound.sense == "proxy" else ""
    sign = "≈" if bound.sense == "point" else _SIGN[bound.sense]
    return f"{sign:<2} {bound.value:.4g}{sure} by {brief(bound.method)}{what}"


def brief(text: str) -> str:
    """Return text with the reprs in it, but without their fields that are None.

    >>> brief("SynFlow(input_shape=None), Shuffled(shuffles=None, seed=0, most=None)")
    'SynFlow(), Shuffled(seed=0)'
    """
    return re.sub(r"\b\w+=None, |(, )?\b\w+=None(?=\))", "", text)


def noted(notes: tuple[str, ...], column: int) -> list[str]:
    """Return lines of at most 100 characters that say every note, from that column on."""
    first, other = "  note".ljust(column), " " * column
    wrapped = partial(textwrap.wrap, width=100, initial_indent=first, subsequent_indent=other)
    return [line for note in notes for line in wrapped(note, break_on_hyphens=False)]


def _shortened(names: tuple[str, ...], most: int = 4) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _written(value: float) -> float | str:
    """Return the number, or the name of what JSON has no number for."""
    return value if math.isfinite(value) else str(value)
