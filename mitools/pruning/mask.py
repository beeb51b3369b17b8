"""A mask: which weights of a network are kept, by name."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from mitools._typing import BoolArray
from mitools._validation import MaskError
from mitools.models import prunable
from mitools.pruning import formats, paths
from mitools.pruning.binary import as_bool, blocks
from mitools.pruning.mask_files import is_mask_file, load_mask, save_mask
from mitools.pruning.names import fit, paired, places
from mitools.results import LayerCount


class Mask(Mapping[str, Tensor]):
    """Which weights are kept: parameter name -> boolean tensor, True where the weight stays.

    Immutable: operations return new masks. The tensors are handed out without a copy; do not
    write to them. Two masks are equal if they hold the same names and values, whatever their
    provenance.

    Parameters
    ----------
    tensors : mapping of str to tensor, array or nested list
        0/1 or boolean values, each of its parameter's shape. Copied.
    pruner : object or str, optional
        What made the mask: the pruner's value, or its repr where read from a file.
    density : float, optional
        The density that was asked for, in [0, 1].
    fingerprint : str, optional
        Fingerprint of the weights the mask was made from; see `mitools.models.fingerprint`.
    source : str
        How the mask was obtained, for reports.

    Raises
    ------
    MaskError
        If there is no tensor, or a value other than 0 and 1.

    Examples
    --------
    >>> mask = Mask({"weight": [[1, 0], [1, 1]]})
    >>> mask.nonzeros, mask.size, mask.density
    (3, 4, 0.75)
    >>> (~mask)["weight"]
    tensor([[False,  True],
            [False, False]])
    """

    pruner: Any
    requested_density: float | None
    fingerprint: str | None
    source: str
    _tensors: dict[str, Tensor]
    _kept: dict[str, int]

    def __init__(
        self,
        tensors: Mapping[str, Any],
        *,
        pruner: Any = None,
        density: float | None = None,
        fingerprint: str | None = None,
        source: str = "given",
    ) -> None:
        if not isinstance(tensors, Mapping):
            raise MaskError(
                f"tensors must map parameter names to 0/1 tensors; got {type(tensors).__name__}. "
                "Mask.of reads other formats."
            )
        copies = {name: as_bool(name, value) for name, value in tensors.items()}
        self._set(copies, pruner, density, fingerprint, source)

    def _set(
        self,
        tensors: dict[str, Tensor],
        pruner: Any = None,
        density: float | None = None,
        fingerprint: str | None = None,
        source: str = "given",
    ) -> None:
        if not tensors:
            raise MaskError(
                "tensors must hold at least one tensor; got none. "
                "Does the model have anything to prune?"
            )
        if density is not None and not 0.0 <= density <= 1.0:
            raise ValueError(f"density must lie in [0, 1]; got {density!r}.")
        self.__dict__.update(
            _tensors=tensors,
            _kept={name: int(torch.count_nonzero(t)) for name, t in tensors.items()},
            pruner=pruner,
            requested_density=density,
            fingerprint=fingerprint,
            source=source,
        )

    @classmethod
    def _owning(cls, tensors: dict[str, Tensor], **provenance: Any) -> Self:
        """Wrap boolean tensors that nobody else holds, without a copy."""
        mask = cls.__new__(cls)
        mask._set(tensors, **provenance)
        return mask

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Mask is immutable; {name!r} cannot be set. Make a new one.")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Mask is immutable; {name!r} cannot be deleted.")

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    @property
    def nonzeros(self) -> int:
        """Weights kept."""
        return sum(self._kept.values())

    @property
    def size(self) -> int:
        """Weights that could have been kept."""
        return sum(tensor.numel() for tensor in self._tensors.values())

    @property
    def density(self) -> float:
        """Share of the weights that is kept; 0 where there are no weights."""
        return self.nonzeros / self.size if self.size else 0.0

    def layers(self) -> tuple[LayerCount, ...]:
        """Return size and kept count, tensor by tensor."""
        return tuple(
            LayerCount(name, tensor.numel(), self._kept[name])
            for name, tensor in self._tensors.items()
        )

    def flat(self) -> BoolArray:
        """Return all values in one row, tensor after tensor, each in C order.

        Returns
        -------
        bool array, shape (size,)
            A copy.
        """
        row = np.empty(self.size, dtype=np.bool_)
        start = 0
        for tensor in self._tensors.values():
            stop = start + tensor.numel()
            torch.from_numpy(row[start:stop]).copy_(tensor.reshape(-1))
            start = stop
        return row

    @classmethod
    def ones_like(
        cls, like: nn.Module | Mapping[str, Tensor], names: Iterable[str] | None = None
    ) -> Self:
        """Return the mask that keeps everything: all that is prunable, or these names."""
        return cls._filled(like, names, True)

    @classmethod
    def zeros_like(
        cls, like: nn.Module | Mapping[str, Tensor], names: Iterable[str] | None = None
    ) -> Self:
        """Return the mask that keeps nothing."""
        return cls._filled(like, names, False)

    @classmethod
    def _filled(
        cls, like: nn.Module | Mapping[str, Tensor], names: Iterable[str] | None, value: bool
    ) -> Self:
        if isinstance(like, nn.Module):
            every = {name: place.parameter for name, place in places(like).items()}
            like = prunable(like) if names is None else every
        like = like if names is None else {name: like[name] for name in names}
        return cls._owning(
            {n: torch.full_like(t, value, dtype=torch.bool) for n, t in like.items()}
        )

    @classmethod
    def of(cls, given: Any = None, model: nn.Module | None = None) -> "Mask":
        """Return the mask that other tools, files or the model itself hold.

        Parameters
        ----------
        given : Mask, mapping, list, path, Module or None
            One of: a mapping of names to 0/1 tensors or arrays, names with or without
            ``.weight`` and with ``module.``, ``model.`` or ``_orig_mod.`` in front; a state dict
            with mask buffers; a mapping of modules to tensors; a list in module order; NNI's
            ``{module: {"weight": tensor}}``; a .safetensors, .npz or torch file of one of these.
            None reads what the model carries: buffers of ``torch.nn.utils.prune``, masks of
            parametrizations, buffers of Synaptic-Flow, ``keep_mask``, buffers of open_lth; else
            its exact zeros. `source` tells which.
        model : Module, optional
            Gives names and checks shapes; needed where the format has no names.

        Raises
        ------
        MaskError
            If the format is unknown or does not fit the model; every mismatch is listed.
        FileFormatError
            If a file is corrupt. Nothing in a file is ever executed.

        Examples
        --------
        >>> Mask.of([torch.eye(2)], nn.Linear(2, 2))["weight"].sum()
        tensor(2)
        """
        if isinstance(given, (str, os.PathLike)) and is_mask_file(given):
            given = cls.load(given)
        if not isinstance(given, Mask):
            tensors, source = formats.read(given, model)
            return cls._owning(tensors, source=source)
        if model is None:
            return given
        tensors = formats.renamed(given, model)
        if tensors.keys() == given.keys():
            return given
        return given._owning(
            tensors,
            pruner=given.pruner,
            density=given.requested_density,
            fingerprint=given.fingerprint,
            source=given.source,
        )

    to_torch_prune = formats.to_torch_prune
    to_open_lth = formats.to_open_lth
    to_synflow = formats.to_synflow
    to_nni = formats.to_nni
    to_numpy = formats.to_numpy

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the mask with its provenance as safetensors: the whole file, or none.

        The pruner is stored as its repr.
        """
        save_mask(
            path,
            self._tensors,
            pruner=self.pruner,
            density=self.requested_density,
            fingerprint=self.fingerprint,
            source=self.source,
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; the pruner comes back as text.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        FileFormatError
            If it is no intact mask file. Nothing in it is ever executed.
        """
        tensors, provenance = load_mask(path)
        return cls._owning(tensors, **provenance)

    def with_provenance(
        self, *, pruner: Any = None, density: float | None = None, fingerprint: str | None = None
    ) -> Self:
        """Return the same mask with what is given here filled in; the tensors are shared."""
        return self._owning(
            self._tensors,
            pruner=self.pruner if pruner is None else pruner,
            density=self.requested_density if density is None else density,
            fingerprint=self.fingerprint if fingerprint is None else fingerprint,
            source=self.source,
        )

    def apply_(self, model: nn.Module) -> nn.Module:
        """Set the weights that are not kept to exactly 0, in place.

        Parameters
        ----------
        model : Module
            Changed. Names and shapes are checked first; either all tensors are masked or none.

        Returns
        -------
        Module
            The same model.

        Raises
        ------
        MaskError
            If the mask does not fit the model.
        """
        found = fit(self._tensors, model)
        with torch.no_grad():
            for name, place in found.items():
                _zero_pruned_(place.parameter, self._tensors[name])
                if place.derived is not None:
                    _zero_pruned_(place.derived, self._tensors[name])
        return model

    def check_fits(self, model: nn.Module) -> None:
        """Raise `MaskError`, listing every mismatch, unless the mask fits the model."""
        fit(self._tensors, model)

    def on_path(self, model: nn.Module, example_input: Any) -> Self:
        """Return the mask of the kept weights that lie on a path from input to output.

        See `mitools.pruning.paths.on_path`.
        """
        tensors = paths.on_path(self._tensors, model, example_input)
        return self._owning(tensors, fingerprint=self.fingerprint, source="on a path")

    def __and__(self, other: object) -> Self:
        return self._combined(other, torch.logical_and)

    def __or__(self, other: object) -> Self:
        return self._combined(other, torch.logical_or)

    def __xor__(self, other: object) -> Self:
        return self._combined(other, torch.logical_xor)

    def __invert__(self) -> Self:
        inverse = {name: ~tensor for name, tensor in self._tensors.items()}
        return self._owning(inverse, fingerprint=self.fingerprint, source="computed")

    def _combined(self, other: object, operation: Any) -> Self:
        if not isinstance(other, Mask):
            return NotImplemented
        pairs = paired(self, other)
        tensors = {name: operation(a, b) for name, (a, b) in pairs.items()}
        same = self.fingerprint if self.fingerprint == other.fingerprint else None
        return self._owning(tensors, fingerprint=same, source="computed")

    def overlap(self, other: "Mask") -> float:
        """Return the Jaccard overlap: weights that both keep, as a share of those either keeps.

        Returns
        -------
        float
            In [0, 1]; 1 for two empty masks.

        Raises
        ------
        MaskError
            If the masks do not cover the same tensors.
        """
        both = sum(int(torch.count_nonzero(a & b)) for a, b in paired(self, other).values())
        either = self.nonzeros + other.nonzeros - both
        return both / either if either else 1.0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return self._tensors.keys() == other._tensors.keys() and all(
            t.shape == other[n].shape and torch.equal(t, other[n].to(t.device))
            for n, t in self._tensors.items()
        )

    def __hash__(self) -> int:
        if "_hash" not in self.__dict__:
            digest = hashlib.blake2b(digest_size=8)
            for name in sorted(self._tensors):
                tensor = self._tensors[name]
                digest.update(f"{name}{tuple(tensor.shape)}".encode())
                for block in blocks(tensor):
                    digest.update(block.contiguous().cpu().numpy().data)
            self.__dict__["_hash"] = int.from_bytes(digest.digest(), "little", signed=True)
        return self.__dict__["_hash"]

    def __repr__(self) -> str:
        by = "" if self.pruner is None else f", pruner={self.pruner}"
        return (
            f"<Mask: {self.nonzeros:,} of {self.size:,} weights kept ({self.density:.2%}) "
            f"in {len(self)} tensor{'s' if len(self) != 1 else ''}{by}>"
        )


def _zero_pruned_(weights: Tensor, mask: Tensor) -> None:
    for kept, rows in zip(blocks(mask), blocks(weights), strict=True):
        rows.masked_fill_(~kept.to(weights.device), 0)
