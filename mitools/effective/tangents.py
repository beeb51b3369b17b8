"""A network seen as linear in its weights: what directions of weights do to outputs and losses."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from mitools._typing import FloatArray
from mitools.pruning.scoring import canonical, state_of_model, undisturbed
from mitools.training.evaluation import place_of, placed

_EXACT = 1 << 27  # numbers in the Jacobian of one output up to which it is written out


class Tangents:
    """The network on some inputs at given weights, and its derivatives by the masked tensors.

    Parameters
    ----------
    model : nn.Module
        Evaluated, never changed.
    mask : mapping of str to bool tensor
        The tensors that take part, in the order in which they are flattened.
    inputs : Tensor
        The points.
    pruned : bool
        Whether the weights are m ⊙ w, and only kept ones count, or w and all do.
    """

    def __init__(
        self, model: nn.Module, mask: Mapping[str, Tensor], inputs: Tensor, *, pruned: bool
    ) -> None:
        self._model = model
        first = canonical(model, tuple(mask))
        with undisturbed(model):
            state = {name: tensor.detach() for name, tensor in state_of_model(model).items()}
        self._keep = {
            first[name]: keep.to(state[first[name]].device) for name, keep in mask.items()
        }
        self.weights = {name: state.pop(name) for name in self._keep}
        if pruned:
            self.weights = {
                name: weight.masked_fill(~self._keep[name], 0.0)
                for name, weight in self.weights.items()
            }
        self._pruned = pruned
        self._rest = state
        self._inputs = placed(inputs, *place_of(model))
        self.size = sum(weight.numel() for weight in self.weights.values())

    def __len__(self) -> int:
        return len(self._inputs)

    def response(self, rows: slice, direction: FloatArray) -> FloatArray:
        """Change of the outputs along a direction of weights, shape (rows, outputs)."""
        with undisturbed(self._model):
            outputs = self._pushed(self._parts(direction), self._inputs[rows]).double().cpu()
        if not outputs.isfinite().all():
            raise ValueError(
                "inputs must be of a size at which the network's derivatives are finite; they "
                "overflow. Scale them, or try model.double()."
            )
        return outputs.numpy()

    def loss_gradient(self, rows: slice, targets: FloatArray) -> FloatArray:
        """Derivative by the weights of the cross-entropy, summed over points, shape (p,).

        Linear in the targets, shape (rows, c), which need be no probabilities.
        """
        inputs = self._inputs[rows]
        wanted = torch.as_tensor(targets, dtype=inputs.dtype, device=inputs.device)

        def loss(weights: dict[str, Tensor]) -> Tensor:
            outputs = self._outputs(weights, inputs)
            return -(wanted * outputs.log_softmax(dim=1)[:, : wanted.shape[1]]).sum()

        with undisturbed(self._model):
            return _flat(grad(loss)(self.weights))

    def kernel(self, directions: int, seed: int) -> FloatArray:
        """Inner products of the points' Jacobians, averaged over outputs, with mean diagonal 1.

        Exact where the Jacobian of one output fits memory and the network can be differentiated
        point by point; else from so many random directions of weights, which is unbiased.
        """
        found = None
        if len(self) * self.size <= _EXACT:
            try:
                found = self._exact_kernel()
            except RuntimeError:  # what vmap says to modules that look into their inputs
                found = None
        if found is None:
            found = self._sketched_kernel(directions, seed)
        if not np.isfinite(found).all():
            raise ValueError(
                "inputs must be of a size at which the network's Jacobian is finite; it overflows. "
                "Scale them, or try model.double()."
            )
        scale = float(np.trace(found)) / len(found)
        return found / scale if scale > 0.0 else found

    def _exact_kernel(self) -> FloatArray:
        with undisturbed(self._model):
            outputs = self._outputs(self.weights, self._inputs[:1]).shape[1]
            total = np.zeros((len(self), len(self)))
            for index in range(outputs):

                def output(weights: dict[str, Tensor], point: Tensor, index: int = index) -> Tensor:
                    return self._outputs(weights, point[None])[0, index]

                slopes = vmap(grad(output), in_dims=(None, 0), chunk_size=64)(
                    self.weights, self._inputs
                )
                for name, slope in slopes.items():
                    flat = slope.flatten(1)
                    if self._pruned:
                        flat = flat[:, self._keep[name].flatten()]
                    total += (flat @ flat.T).double().cpu().numpy()
        return total / outputs

    def _sketched_kernel(self, directions: int, seed: int) -> FloatArray:
        generator = torch.Generator().manual_seed(seed)
        total = np.zeros((len(self), len(self)))
        with undisturbed(self._model):
            for _ in range(directions):
                parts = {
                    name: torch.randn(weight.shape, generator=generator).to(weight)
                    for name, weight in self.weights.items()
                }
                if self._pruned:
                    parts = {
                        name: part.masked_fill(~self._keep[name], 0.0)
                        for name, part in parts.items()
                    }
                change = self._pushed(parts, self._inputs).double().cpu().numpy()
                total += change @ change.T / change.shape[1]
        return total / directions

    def _pushed(self, parts: dict[str, Tensor], inputs: Tensor) -> Tensor:
        def outputs(weights: dict[str, Tensor]) -> Tensor:
            return self._outputs(weights, inputs)

        with warnings.catch_warnings():  # torch's own, about torch.jit, on first use
            warnings.simplefilter("ignore", DeprecationWarning)
            return jvp(outputs, (self.weights,), (parts,))[1].detach()

    def _outputs(self, weights: dict[str, Tensor], inputs: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # the others know neither jvp nor vmap
            found: Any = functional_call(self._model, {**self._rest, **weights}, (inputs,))
        return found.reshape(len(inputs), -1)

    def _parts(self, direction: FloatArray) -> dict[str, Tensor]:
        parts, start = {}, 0
        for name, weight in self.weights.items():
            values = direction[start : start + weight.numel()].reshape(weight.shape)
            parts[name] = torch.as_tensor(values).to(weight)
            start += weight.numel()
        return parts

    def flat_weights(self) -> FloatArray:
        """Return the weights, shape (p,)."""
        return _flat(self.weights)


def _flat(tensors: Mapping[str, Tensor]) -> FloatArray:
    return np.concatenate([t.detach().double().cpu().numpy().ravel() for t in tensors.values()])
