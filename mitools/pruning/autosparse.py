"""AutoSparse: a small network that learns, from one iterative pruning, which weights survive it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mitools.models import digest, load_tensors, mlp, save_tensors, tensors_of
from mitools.pruning.mask import Mask
from mitools.pruning.scoring import parameters_named, reproducibly, undisturbed
from mitools.pruning.selection import (
    Scope,
    Scores,
    check_scope,
    survivors,
    top_k,
)
from mitools.pruning.slopes import Losses
from mitools.pruning.trained import IMP
from mitools.training import Adam, Training, train
from mitools.training.state import put_

_WIDTHS = (2, 16, 64, 64, 1)
_ROWS = 1 << 16  # weights scored at once
_KIND = "pruning predictor"


@dataclass(frozen=True, eq=False, repr=False)
class Predictor:
    """A fitted predictor of survival, and a score: ``OneShot(Predictor.load("p.safetensors"))``.

    It reads a weight and the slope of the mean loss at it, each divided by its root mean square
    over the weights that take part, and answers with the share of rounds it expects to be survived.
    What it learnt came from the network and the data it was fitted on: I(mask; data) counts those
    too, where they are the data in question.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Parameters and batch-norm statistics of the perceptron 2-16-64-64-1.

    Raises
    ------
    ValueError
        If they are not those.
    """

    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        put_(_perceptron(0), dict(self.tensors), "tensors")

    def __repr__(self) -> str:
        return f"<Predictor {digest(dict(sorted(self.tensors.items())))[:12]}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Predictor) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def scores(self, model: nn.Module, loader: Any, names: Sequence[str]) -> Scores:
        """Return the predicted share of rounds that each weight survives; reads the loader once."""
        rows = _rows(model, loader, names)
        network = _perceptron(0)
        put_(network, dict(self.tensors), "tensors")
        network.to(next(iter(rows.values())).device).eval()
        with torch.no_grad(), reproducibly():
            found = {
                name: torch.cat([network(part) for part in both.split(_ROWS)])
                for name, both in rows.items()
            }
        shapes = {name: model.get_parameter(name).shape for name in names}
        return {name: score.view(shapes[name]) for name, score in found.items()}

    def save(self, path: str | Path) -> None:
        """Write it as safetensors."""
        save_tensors(path, dict(self.tensors), kind=_KIND, metadata={"widths": list(_WIDTHS)})

    @classmethod
    def load(cls, path: str | Path) -> "Predictor":
        """Read what `save` wrote.

        Raises
        ------
        mitools._validation.FileFormatError
            If the file holds something else.
        """
        tensors, _ = load_tensors(path, kind=_KIND)
        return cls(tensors)


@dataclass(frozen=True)
class AutoSparse:
    """Learn from an iterative pruning, as a function of (θ, dL/dθ), how long weights survive it.

    Three steps: iterative magnitude pruning with rewinding (`IMP`) down to ``lowest``; a fit of the
    share of rounds that each weight survived, by its initial value and the slope of the mean loss
    there; a single pruning by the fitted score. The first two are on the model and data given;
    `fit` returns what they make, to be used on others: ``OneShot(predictor)``.

    Differences from the authors' code: the perceptron is 2-16-64-64-1 with batch norm, where theirs
    reshapes each weight into a picture for a ResNet-18 (or has layers of 1,024); both inputs are
    divided by their root mean square; the rounds are rewound, as the paper says and the published
    configurations do not, and fall geometrically (there ``sparse ** 1/n`` reaches the end in one).
    Adam at 0.01, batches of 1,024 and 10 epochs are theirs.

    Parameters
    ----------
    training : Training
        How each round is trained.
    rounds : int, at least 1
        Of the iterative pruning.
    lowest : float in (0, 1)
        The density it ends with.
    epochs : int, at least 0
        Of the predictor's own training.
    seed : int, >= 0
        Of the predictor's initial weights and its order of samples.
    scope : "global", "layer", Allocation or Floor
        Of the last step; see `OneShot`.

    References
    ----------
    Liu et al., *Learning effective pruning at initialization from iterative pruning*, arXiv
    2408.14757.
    """

    training: Training = Training()
    rounds: int = 20
    lowest: float = 0.01
    epochs: int = 10
    seed: int = 0
    scope: Scope = "global"

    def __post_init__(self) -> None:
        self._iterative()  # checks training and rounds
        self._fitting()  # checks epochs and seed
        check_scope(self.scope)
        if not 0.0 < self.lowest < 1.0:
            raise ValueError(
                f"lowest must lie between 0 and 1; got {self.lowest!r}. 0.01 is usual."
            )

    def mask(
        self,
        model: nn.Module,
        loader: Any,
        density: float,
        names: Sequence[str],
        *,
        progress: bool = False,
        checkpoint: str | Path | None = None,
    ) -> Mask:
        """Return the mask that keeps exactly ``round(density * size)`` weights."""
        keep = survivors(density, parameters_named(model, names), self.scope)
        predictor = self.fit(model, loader, names, progress=progress, checkpoint=checkpoint)
        return Mask(top_k(predictor.scores(model, loader, names), keep, self.scope))

    def fit(
        self,
        model: nn.Module,
        loader: Any,
        names: Sequence[str],
        *,
        progress: bool = False,
        checkpoint: str | Path | None = None,
    ) -> Predictor:
        """Return the predictor of the rounds that weights survive.

        Parameters
        ----------
        model, loader, names, progress, checkpoint
            As for `IMP.run`, which keeps the rounds in the checkpoint; the fit is made again.
        """
        ticket = self._iterative().run(
            model, loader, self.lowest, names, progress=progress, checkpoint=checkpoint
        )
        rows = _rows(model, loader, names)
        inputs = torch.cat(list(rows.values()))
        targets = survived(ticket.levels, names).to(inputs.device)
        network = _perceptron(self.seed).to(inputs.device)
        with reproducibly():
            train(network, (inputs, targets), self._fitting(), progress=progress)
        return Predictor({name: t.detach().cpu() for name, t in tensors_of(network).items()})

    def _iterative(self) -> IMP:
        return IMP(self.training, rounds=self.rounds)

    def _fitting(self) -> Training:
        return Training(
            self.epochs, batch_size=1024, optimizer=Adam(lr=0.01), loss="mse", seed=self.seed
        )


def survived(levels: Sequence[Mask], names: Sequence[str]) -> Tensor:
    """Return in how many of the masks each weight stays, from 0 for the fewest to 1; shape (n, 1).

    Examples
    --------
    >>> masks = [Mask({"fc.weight": torch.tensor(kept)}) for kept in ([1, 1, 0], [0, 1, 0])]
    >>> survived(masks, ["fc.weight"]).flatten()
    tensor([0.5000, 1.0000, 0.0000])
    """
    rounds = torch.cat(
        # Levels read from a checkpoint are on the CPU, the others where the model is.
        [torch.stack([level[n].cpu() for level in levels]).sum(0).reshape(-1, 1) for n in names]
    )
    rounds = rounds.float()
    return (rounds - rounds.min()) / (rounds.max() - rounds.min()).clamp_min(1.0)


def _perceptron(seed: int) -> nn.Sequential:
    return mlp(_WIDTHS, batch_norm=True, seed=seed).float()


def _rows(model: nn.Module, loader: Any, names: Sequence[str]) -> dict[str, Tensor]:
    """Return (θ, dL/dθ) of each weight, a row each, over their root mean squares; float32."""
    with undisturbed(model):
        losses = Losses(model, loader, names)
        slopes = losses.slope()
        weights = {name: weight.to(slopes[name].dtype) for name, weight in losses.weights.items()}
    return {
        name: torch.stack([w.reshape(-1), g.reshape(-1)], dim=1).float()
        for name, w, g in zip(names, _unit(weights), _unit(slopes), strict=True)
    }


def _unit(tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """Divide by the root mean square over all of them; by 1 where all are 0."""
    with reproducibly():
        squares = torch.stack([tensor.square().sum() for tensor in tensors.values()]).sum()
    size = sum(tensor.numel() for tensor in tensors.values())
    scale = (squares / max(size, 1)).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    return [tensor / scale for tensor in tensors.values()]
