"""What MIPP answers: a mask, and for each layer what it tells of the next before and after."""

from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd
from torch import Tensor, nn

from mitools.mipp.engines import Step
from mitools.mipp.moments import Moments
from mitools.mipp.refitting import refitted
from mitools.mipp.rewriting import reconstructed
from mitools.pruning.mask import Mask


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One group of channels: what it told of the next layer, and what those that stay tell.

    Parameters
    ----------
    layer : str
        The group's name.
    channels, kept : int
        Before and after.
    before, after : float
        Information in nats.
    seconds : float
        For the selection alone.
    drift : float
        What rounding may have done to phi, in nats.
    steps : tuple of Step
        In the order of the search.
    """

    layer: str
    channels: int
    kept: int
    before: float
    after: float
    seconds: float
    drift: float
    steps: tuple[Step, ...] = field(repr=False)


@dataclass(frozen=True, eq=False, kw_only=True)
class Preserved:
    """Channels that tell of the next layer what all channels tell, or as much as was asked for.

    Parameters
    ----------
    mask : Mask
        An ordinary mask: rows and columns of the channels that go are out.
    kept : dict of str to (size,) bool tensor
        Channels that stay, by group.
    layers : tuple of LayerReport
        In forward order.
    engine : object
        What selected, with the knob at which it did.
    target : str
        "next" or "output".
    reduce : str
        "patches" or "mean".
    samples : int
        Of the data.
    moments : Moments
        From which all was computed.
    notes : tuple of str
        What a careful reader must know.
    """

    mask: Mask
    kept: dict[str, Tensor]
    layers: tuple[LayerReport, ...]
    engine: object
    target: str
    reduce: str
    samples: int
    moments: Moments = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> pd.DataFrame:
        """One row a step: layer, order, channel, phi (nats), kept, left, p_value."""
        rows = [
            {"layer": layer.layer, "order": order, **asdict(step)}
            for layer in self.layers
            for order, step in enumerate(layer.steps)
        ]
        return pd.DataFrame(rows, columns=_PATH)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a layer: channels, kept, information in nats, knobs, seconds."""
        knobs = {name: getattr(self.engine, name, None) for name in ("confidence", "noise")}
        rows = [
            {
                "layer": layer.layer,
                "channels": layer.channels,
                "kept": layer.kept,
                "before": layer.before,
                "after": layer.after,
                "share": layer.after / layer.before if layer.before else 1.0,
                **knobs,
                "seconds": layer.seconds,
            }
            for layer in self.layers
        ]
        return pd.DataFrame(rows, columns=_REPORT)

    def reconstructed(self, model: nn.Module, *, ridge: float = 1e-6) -> nn.Module:
        """Return a pruned copy whose consumers make the best, linearly, of the channels that stay.

        See `mitools.mipp.reconstructed`.
        """
        return reconstructed(model, self.mask, self.moments, ridge=ridge)

    def refitted(
        self,
        model: nn.Module,
        loader: Any,
        *,
        places: int | None = 64,
        ridge: float = 1e-6,
        seed: int = 0,
        progress: bool = False,
    ) -> nn.Module:
        """Return a pruned copy, fitted layer by layer to what the dense network computes.

        See `mitools.mipp.refitted`.
        """
        options = {"places": places, "ridge": ridge, "seed": seed, "progress": progress}
        return refitted(model, self.mask, loader, **options)

    def __str__(self) -> str:
        head = (
            f"MIPP: {self.mask.nonzeros:,} of {self.mask.size:,} weights kept "
            f"({self.mask.density:.2%}) [{self.engine}]"
        )
        width = max((len(layer.layer) for layer in self.layers), default=0)
        lines = [
            f"  {layer.layer:<{width}}  {layer.kept:,} of {layer.channels:,} channels tell "
            f"{layer.after:.4g} of {layer.before:.4g} nats ({layer.seconds:.2g} s)"
            for layer in self.layers
        ]
        what = "the next layer" if self.target == "next" else "the network's output"
        tail = [f"  about {what}, from {self.samples:,} samples ({self.reduce})"]
        return "\n".join([head, *lines, *tail, *(f"  note  {note}" for note in self.notes)])


_PATH = ["layer", "order", "channel", "phi", "kept", "left", "p_value"]
_REPORT = [
    "layer",
    "channels",
    "kept",
    "before",
    "after",
    "share",
    "confidence",
    "noise",
    "seconds",
]
