"""What layers compute, copied while a network runs; afterwards the network is as it was."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mitools.models import eagerly, prunable, untouched

At = Literal["activation", "output", "input"]
"""Where to look: behind a layer's nonlinearity, at its own output, or at what it reads."""

_NONLINEAR = (
    "relu relu6 leaky_relu elu selu celu gelu silu mish hardswish hardsigmoid hardtanh tanh "
    "sigmoid softplus softsign logsigmoid prelu rrelu threshold hardshrink softshrink tanhshrink "
    "clamp clamp_min"
)
_IN_BETWEEN = (
    "batch_norm layer_norm group_norm instance_norm rms_norm dropout dropout1d dropout2d dropout3d "
    "alpha_dropout feature_alpha_dropout"
)


def _functions(names: str) -> frozenset[Any]:
    """Return the functions of these names wherever torch has them, in place or not."""
    owners = (F, torch, Tensor)
    spelled = [name + end for name in names.split() for end in ("", "_")]
    return frozenset(getattr(o, name) for o in owners for name in spelled if hasattr(o, name))


_ENDS = _functions(_NONLINEAR)
_FOLLOWED = _functions(_IN_BETWEEN) | _ENDS


def weight_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that hold prunable weights, by name; those that share one, too.

    A ``MultiheadAttention`` is one layer: the parts inside it are never called by themselves.

    Raises
    ------
    ValueError
        If there is none.
    """
    weights = {id(parameter) for parameter in prunable(model).values()}
    found: dict[str, nn.Module] = {}
    whole: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            whole.append(f"{name}.")
        if not any(id(parameter) in weights for parameter in module.parameters(recurse=False)):
            continue
        if isinstance(module, nn.utils.parametrize.ParametrizationList):
            name = name.rpartition("parametrizations.")[0].removesuffix(".")
        if not any(name.startswith(prefix) for prefix in whole):
            found[name] = model.get_submodule(name)
    return found


def chosen_layers(model: nn.Module, layers: Sequence[str] | None) -> dict[str, nn.Module]:
    """Return the named modules, or those with prunable weights where no names are given.

    Raises
    ------
    ValueError
        If a name is unknown or comes twice, or none is given.
    TypeError
        If layers is a string.
    """
    if layers is None:
        return weight_layers(model)
    if isinstance(layers, str):
        raise TypeError(
            f"layers must be a sequence of names; got the string {layers!r}. Write [{layers!r}]."
        )
    known = dict(model.named_modules(remove_duplicate=False))
    listed = ", ".join(name for name in known if name)
    names = list(layers)
    unknown = [name for name in names if name not in known]
    if unknown or not names or len(set(names)) < len(names):
        found = ", ".join(map(repr, unknown)) or ("no name" if not names else "a name twice")
        raise ValueError(
            f"layers must name modules of the model, each once; got {found}. "
            f"There are: {listed or 'none inside it'}."
        )
    return {name: known[name] for name in names}


@contextmanager
def watched(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    at: At,
    copy: Callable[[str, Tensor], Tensor],
) -> Iterator[dict[str, Tensor]]:
    """Record what layers compute while the model runs, once, inside this context.

    Parameters
    ----------
    model : Module
        Run in evaluation mode without gradients; left as it was.
    layers : mapping of str to Module
        What to watch.
    at : {"activation", "output", "input"}
        Where.
    copy : callable
        Makes what is kept, of a layer's name and a tensor that may be overwritten afterwards.

    Yields
    ------
    dict of str to Tensor
        Filled in order of execution. The second call of one layer is called ``name#2``.
    """
    recorder = _Recorder(copy)
    handles = []
    with ExitStack() as stack:
        stack.enter_context(untouched(model))
        stack.enter_context(torch.no_grad())
        stack.enter_context(eagerly())  # compiled code asks no mode
        # Also for plain outputs: under a mode, transformers do not skip their layers.
        stack.enter_context(recorder)
        stack.callback(lambda: [handle.remove() for handle in handles])
        for name, module in layers.items():
            if at == "input":
                hook = recorder.before(name)
                handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
            else:
                follow = at == "activation" and _has_weights(module)
                handles.append(module.register_forward_hook(recorder.after(name, follow)))
        yield recorder.records


class _Recorder(TorchFunctionMode):
    """Copies what watched layers give, and follows it to the nonlinearity behind them."""

    def __init__(self, copy: Callable[[str, Tensor], Tensor]) -> None:
        super().__init__()
        self.records: dict[str, Tensor] = {}
        self._copy = copy
        # Outputs whose nonlinearity may still come, held so that their ids stay theirs, with the
        # version that tells whether anything was added to them in place meanwhile.
        self._open: dict[int, tuple[list[str], Tensor, int]] = {}

    def before(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            value = args[0] if args else next(iter(kwargs.values()), None)
            self._record(name, value, "read")

        return hook

    def after(self, name: str, follow: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if isinstance(module, nn.MultiheadAttention):
                output = output[0]  # beside the weights of the attention
            key = self._record(name, output, "return")
            if follow:
                self._follow(output, [*self._layers_behind(output), key])

        return hook

    def _record(self, name: str, value: Any, verb: str) -> str:
        if not isinstance(value, Tensor):
            raise ValueError(
                f"layers must {verb} one tensor each; {name!r} has a {type(value).__name__}. "
                "Leave it out of layers=[...], or name the modules inside it."
            )
        key, call = name, 1
        while key in self.records:
            call += 1
            key = f"{name}#{call}"
        self.records[key] = self._copy(name, value)
        return key

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        value = args[0] if args else kwargs.get("input")
        keys = self._layers_behind(value) if func in _FOLLOWED else []
        output = func(*args, **kwargs)
        for key in keys:
            self.records[key] = self._copy(key.partition("#")[0], output)
        if keys and func not in _ENDS:
            self._follow(output, keys)
        return output

    def _follow(self, output: Tensor, keys: list[str]) -> None:
        self._open[id(output)] = (keys, output, output._version)

    def _layers_behind(self, value: Any) -> list[str]:
        """Return whose output a value is, and look no further for them."""
        if id(value) not in self._open:
            return []
        keys, tensor, version = self._open.pop(id(value))
        return keys if tensor._version == version else []


def _has_weights(module: nn.Module) -> bool:
    own = list(module.parameters(recurse=False))
    if nn.utils.parametrize.is_parametrized(module):
        own += module.parametrizations.parameters()  # pyright: ignore
    return isinstance(module, nn.MultiheadAttention) or any(p.ndim > 1 for p in own)
