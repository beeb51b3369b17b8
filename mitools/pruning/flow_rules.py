"""How reachability passes through the functions of torch, one rule for each family."""

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from mitools.pruning.flow import Flow


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


THROUGH = _words(
    """
    .data abs absolute alpha_dropout arctan asinh atan bfloat16 ceil celu clamp clamp_max
    clamp_min clip cos cosh cpu cuda detach double dropout dropout1d dropout2d dropout3d elu
    erf erfc exp exp2 expm1 feature_alpha_dropout feature_dropout float gelu half hardshrink
    hardsigmoid hardswish hardtanh leaky_relu local_response_norm log log10 log1p log2
    log_softmax logit logsigmoid masked_fill mish nan_to_num neg negative normalize positive
    pow prelu reciprocal relu relu6 requires_grad round rrelu rsqrt selu sigmoid sign silu sin
    sinh softmax softmin softplus softshrink softsign sqrt square tanh tanhshrink threshold to
    type type_as
    """
)
"""Act number by number, or normalise: a flow passes unchanged."""

UNITED = _words(
    """
    add atan2 div divide fmax fmin hypot iadd isub itruediv lerp logaddexp maximum minimum
    radd rdiv rpow rsub rtruediv sub subtract true_divide truediv where
    """
)
"""Depend on each operand: their flows unite."""

MULTIPLIED = _words(
    """
    bmm dot imul inner matmul mm mul multiply mv outer rmatmul rmul
    """
)
"""Linear in each of two operands."""

SHAPED = _words(
    """
    .H .T .mH .mT .real broadcast_to cat channel_shuffle chunk clone contiguous diagonal
    expand expand_as flatten flip gather getitem index_select moveaxis movedim narrow permute
    pixel_shuffle pixel_unshuffle ravel repeat repeat_interleave reshape reshape_as roll
    select split split_with_sizes squeeze stack swapaxes swapdims t tensor_split tile
    transpose tril triu unbind unflatten unsqueeze view view_as
    """
)
"""Move numbers about."""

ADDED = _words(
    """
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d all any argmax argmin
    avg_pool1d avg_pool2d avg_pool3d bool cumsum data_ptr dim element_size empty_like eq fold
    format full_like ge get_device gt hash is_complex is_contiguous is_floating_point
    is_same_size isfinite isinf isnan item iter le len lt mean nansum ndimension ne nelement
    new_empty new_full new_ones new_tensor new_zeros numel ones_like rand_like randn_like repr
    result_type size storage_offset stride sum tolist unfold upsample zeros_like
    """
)
"""Sum with positive factors, or tell facts: run as they are."""


def plain(func: Callable) -> str:
    """Return a function's name: of ``relu_`` relu, of ``__radd__`` radd, of a getter ``.shape``."""
    name = getattr(func, "__name__", type(func).__name__)
    if name == "__get__":
        return f".{getattr(getattr(func, '__self__', None), '__name__', '')}"
    return name.strip("_")


def _layer(func: Callable) -> Callable:
    def rule(net: "Flow", *args: Any, **kwargs: Any) -> Tensor:
        given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        operands, bias = [given.pop("input"), given.pop("weight")], given.pop("bias", None)
        output = net.multilinear(lambda x, w: func(x, w, None, *args[3:], **given), operands)
        trailing = 0 if func is F.linear else operands[1].dim() - 2
        return _biased(net, output, bias, trailing)

    return rule


def _biased(net: "Flow", output: Tensor, bias: Any, trailing: int = 0) -> Tensor:
    """Let a bias feel the way out; it is no way in."""
    if net.is_weight(bias) and bias.requires_grad:
        return output + net.as_added(bias).reshape(-1, *[1] * trailing)
    return output


def _bilinear(net: "Flow", a: Any, b: Any, weight: Any, bias: Any = None) -> Tensor:
    return _biased(net, net.multilinear(lambda x, y, w: F.bilinear(x, y, w), [a, b, weight]), bias)


def _einsum(net: "Flow", equation: str, *operands: Any) -> Tensor:
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    return net.multilinear(lambda *factors: torch.einsum(equation, *factors), operands)


def _product_added(net: "Flow", added: Any, a: Any, b: Any, **_: Any) -> Tensor:
    product = net.multilinear(torch.matmul, [a, b])
    return net.united([product, added])


def _joined(func: Callable) -> Callable:
    def rule(net: "Flow", tensors: Sequence[Tensor], *args: Any, **kwargs: Any) -> Tensor:
        return func([net.as_added(tensor) for tensor in tensors], *args, **kwargs)

    return rule


def _set_item(net: "Flow", target: Tensor, index: Any, value: Any) -> None:
    target[index] = net.as_added(value) if isinstance(value, Tensor) else 0.0


def _norm(weight_at: int, channels_last: bool) -> Callable:
    def rule(net: "Flow", x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        given = dict(zip(range(1, len(args) + 1), args, strict=True))
        weight = kwargs.get("weight", given.get(weight_at))
        bias = kwargs.get("bias", given.get(weight_at + 1))
        trailing = 0 if channels_last else x.dim() - 2
        if weight is not None and net.is_weight(weight) and weight.requires_grad:
            shaped = weight if channels_last else weight.reshape(-1, *[1] * trailing)
            x = x * shaped
        if channels_last:
            return net.united([x, bias])
        return _biased(net, x, bias, trailing)

    return rule


def _max_pool(pool: Callable) -> Callable:
    def rule(
        net: "Flow",
        x: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Tensor:
        if dilation not in (1, (1,), (1, 1), (1, 1, 1)) or return_indices:
            raise NotImplementedError("max pooling with dilation or with indices")
        return pool(x, kernel_size, stride or kernel_size, padding, ceil_mode)

    return rule


def _adaptive_pool(pool: Callable) -> Callable:
    def rule(net: "Flow", x: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
        if return_indices:
            raise NotImplementedError("max pooling with indices")
        return pool(x, output_size)

    return rule


def _reduced(net: "Flow", x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """A maximum, norm or spread depends on all it is taken over, as a sum does."""
    dim, keepdim = kwargs.get("dim"), kwargs.get("keepdim", False)
    places = [a for a in args if isinstance(a, (int, tuple, list)) and not isinstance(a, bool)]
    if dim is None and places:
        dim = places[-1]
    keepdim = keepdim or (bool(args) and args[-1] is True)
    return x.sum() if dim is None else x.sum(dim, keepdim=keepdim)


def _maximum(net: "Flow", x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if not args and not kwargs:
        return x.sum()
    if args and isinstance(args[0], Tensor):
        return net.united([x, args[0]])
    raise NotImplementedError("max or min with indices; torch.amax has none")


def _pad(
    net: "Flow", x: Tensor, pad: Any, mode: str = "constant", value: float | None = None
) -> Tensor:
    return F.pad(x, pad, mode)


def _interpolate(net: "Flow", x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    given = dict(zip(("size", "scale_factor", "mode", "align_corners"), args, strict=False))
    given |= kwargs
    if given.get("mode") == "bicubic":  # its negative factors reach no further
        given["mode"] = "bilinear"
    return F.interpolate(x, **given)


def _gated(net: "Flow", x: Tensor, dim: int = -1) -> Tensor:
    first, second = x.chunk(2, dim)
    return first + second


def _embedding(net: "Flow", indices: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Any row may be looked up, whatever the example: flow enters through all of them."""
    row = net.multilinear(lambda s, w: s * w.sum(0), [net.source, weight])
    return row.expand(*indices.shape, -1)


def _attention(net: "Flow", query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Every output depends on all values of its column, and on how its query meets all keys."""
    query, key, value = (net.as_added(operand) for operand in (query, key, value))
    met = query.sum(-1, keepdim=True) + key.sum((-2, -1), keepdim=True)
    return met + value.sum(-2, keepdim=True)


def _multi_head(net: "Flow", *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    given = inspect.signature(F.multi_head_attention_forward).bind(*args, **kwargs)
    given.apply_defaults()
    a = given.arguments
    width, heads = a["embed_dim_to_check"], a["num_heads"]
    if a["use_separate_proj_weight"]:
        weights = [a["q_proj_weight"], a["k_proj_weight"], a["v_proj_weight"]]
    else:
        weights = list(_pieces(net, a["in_proj_weight"]))
    biases = [None] * 3 if a["in_proj_bias"] is None else _pieces(net, a["in_proj_bias"])
    parts = []
    for x, weight, bias in zip((a["query"], a["key"], a["value"]), weights, biases, strict=True):
        flow = _layer(F.linear)(net, net.as_added(x), weight, bias)
        flow = flow if flow.dim() == 3 else flow.unsqueeze(1)
        parts.append(flow.unflatten(-1, (heads, width // heads)).permute(1, 2, 0, 3))
    mixed = _attention(net, *parts).permute(2, 0, 1, 3).flatten(-2)
    mixed = mixed if a["query"].dim() == 3 else mixed.squeeze(1)
    return _layer(F.linear)(net, mixed, a["out_proj_weight"], a["out_proj_bias"]), None


def _pieces(net: "Flow", tensor: Tensor) -> tuple[Tensor, ...]:
    """Cut the joint projection of queries, keys and values; the pieces are weights, too."""
    pieces = tensor.chunk(3)
    net.know(pieces)
    return pieces


BY_NAME: dict[str, Callable] = {
    **{
        f"conv{kind}{d}d": _layer(getattr(F, f"conv{kind}{d}d"))
        for kind in ("", "_transpose")
        for d in (1, 2, 3)
    },
    **{f"max_pool{d}d": _max_pool(getattr(F, f"avg_pool{d}d")) for d in (1, 2, 3)},
    **{
        f"adaptive_max_pool{d}d": _adaptive_pool(getattr(F, f"adaptive_avg_pool{d}d"))
        for d in (1, 2, 3)
    },
    **{name: _joined(getattr(torch, name)) for name in ("cat", "concat", "stack", "hstack")},
    **dict.fromkeys(("amax", "amin", "logsumexp", "norm", "std", "var"), _reduced),
    "addmm": _product_added,
    "baddbmm": _product_added,
    "batch_norm": _norm(3, channels_last=False),
    "bilinear": _bilinear,
    "einsum": _einsum,
    "embedding": _embedding,
    "glu": _gated,
    "group_norm": _norm(2, channels_last=False),
    "instance_norm": _norm(3, channels_last=False),
    "interpolate": _interpolate,
    "layer_norm": _norm(2, channels_last=True),
    "linear": _layer(F.linear),
    "max": _maximum,
    "min": _maximum,
    "multi_head_attention_forward": _multi_head,
    "pad": _pad,
    "rms_norm": _norm(2, channels_last=True),
    "scaled_dot_product_attention": _attention,
    "setitem": _set_item,
}
"""Functions with a rule of their own; each takes the mode and the function's own arguments."""
