"""A pretended GPU: its tensors are held by the CPU's, and refuse to meet them.

Run as a program, it prunes, trains and looks at networks on it, with data on the CPU, and compares
with the CPU. What a real device computes otherwise it does not show; which tensors are where, it
does. It leans on inner parts of torch, so it is a process of its own: see test_pretend_device.
"""

import itertools
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("pretended")
THERE = torch.device("pretended", 0)
COPIES = ("aten::copy_", "aten::_to_copy")
INDEXING = ("aten::index", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_")


class Pretended(torch.Tensor):
    """A tensor that says it is on the device; ``held`` has its numbers."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, layout=held.layout, device=THERE, requires_grad=False,
        )  # fmt: skip
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return dispatched(function, args, kwargs or {})

    def __getitem__(self, index):
        if isinstance(index, list):
            index = Pretended(torch.tensor(index, dtype=torch.long))
        return torch.Tensor.__getitem__(self, index)

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            twin = Pretended(self.held.detach().clone())
            if isinstance(self, torch.nn.Parameter):
                twin = torch.nn.Parameter(twin, requires_grad=self.requires_grad)
            memo[id(self)] = twin
        return memo[id(self)]

    @property
    def data(self):
        return Pretended(self.held.detach())

    @data.setter
    def data(self, value):
        torch.Tensor.data.__set__(self, value)
        self.held = value.held

    def tolist(self):
        return self.held.tolist()

    def numpy(self, *_, **__):
        raise TypeError("can't convert a tensor of the pretended device to numpy")

    __array__ = numpy

    def __repr__(self):
        return f"Pretended({self.held})"


def is_there(device):
    return device is not None and torch.device(device).type == THERE.type


def dispatched(function, args, kwargs):
    """Do an operation on what is held; RuntimeError where a GPU would refuse it."""
    name = function._schema.name
    flat, _ = tree_flatten((args, kwargs))
    there = [t for t in flat if isinstance(t, Pretended)]
    here = [t for t in flat if isinstance(t, torch.Tensor) and not isinstance(t, Pretended)]
    if there and here and name not in COPIES:
        first, values = args[0], args[2] if len(args) > 2 else None
        if name in INDEXING:  # indices may be on the CPU, as on CUDA
            bad = not isinstance(first, Pretended)
            bad |= type(values) is torch.Tensor and values.dim() > 0
        else:
            bad = any(t.dim() for t in here)
            bad |= name.endswith("_") and not isinstance(first, Pretended)
        if bad:
            raise RuntimeError(f"{name}: tensors on different devices")
    device = kwargs.get("device")
    stays = is_there(device) if device is not None else bool(there)
    if name == "aten::copy_":
        stays = isinstance(args[0], Pretended)
    if stays and any(isinstance(t, torch.Generator) for t in flat):
        raise RuntimeError(f"{name}: a generator of the CPU")
    answer = function(*tree_map(_held, args), **tree_map(_held, kwargs))
    if name == "aten::_local_scalar_dense":
        return answer
    known = {id(t.held): t for t in there}

    def wrapped(value):
        if not isinstance(value, torch.Tensor) or isinstance(value, Pretended) or not stays:
            return value
        return known[id(value)] if id(value) in known else Pretended(value)

    return tree_map(wrapped, answer)


def _held(value):
    if isinstance(value, torch.device):
        return torch.device("cpu") if is_there(value) else value
    return value.held if isinstance(value, Pretended) else value


class OnDevice(TorchDispatchMode):
    """Inside, tensors can be made on the pretended device."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return dispatched(function, args, kwargs or {})


_tensor = torch.tensor


def tensor(values, *args, device=None, **kwargs):
    made = _tensor(values, *args, **kwargs)
    return Pretended(made) if is_there(device) else made if device is None else made.to(device)


def put(model):
    """Move a network, in place."""
    for module in model.modules():
        for name, p in list(module._parameters.items()):
            if p is not None:
                moved = torch.nn.Parameter(Pretended(p.detach().clone()), p.requires_grad)
                module._parameters[name] = moved
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = Pretended(buffer.detach().clone())
    return model


# ---- what is run there ----


def pruners():
    """Return (network, pruner) of every kind, small."""
    from test_conformance import DATA_FREE, ONE_RANKING
    from test_structured import EVERY

    from mitools.mipp import MIPP, Gaussian
    from mitools.pruning import (
        ERK,
        FORCE,
        IMP,
        OTO,
        SNIP,
        SOSP,
        AutoSparse,
        Floor,
        GradualMagnitude,
        GraSP,
        Iterative,
        MagnitudeAfterTraining,
        OneShot,
        ProsPr,
        Shuffled,
        ThiNet,
    )  # fmt: skip
    from mitools.training import SGD, Training

    training = Training(epochs=2, batch_size=12, optimizer=SGD(lr=0.05, momentum=0.9))
    weights = [
        *DATA_FREE, *ONE_RANKING, Iterative(SNIP(), rounds=3, scope=Floor(1, "layer")),
        FORCE(rounds=3), Iterative(GraSP(signed=False), rounds=2), OneShot(ProsPr(steps=1), ERK()),
        Shuffled(OneShot(SNIP())), MagnitudeAfterTraining(training),
        GradualMagnitude(training, prunings=2), IMP(training, rounds=2, rewind_steps=1),
        AutoSparse(training, rounds=2, lowest=0.3, epochs=1),
    ]  # fmt: skip
    channels = [
        *EVERY, SOSP(), ThiNet(images=20), ThiNet("forward", images=20),
        OTO(training, 1.0, 0.95), OTO(training, 1.0, 0.5, dual=True), MIPP(Gaussian(), places=8),
    ]  # fmt: skip
    return [("batch norm", p) for p in weights] + [("convolutional", p) for p in channels]


def check_masks(there, here):
    """The same mask, on either device, and all of it on one."""
    assert len({type(kept) for kept in there.values()}) == 1
    for name, kept in there.items():
        assert torch.equal(kept.cpu(), here[name]), name


def prune_everything(nets):
    from mitools.pruning import prune

    for net, pruner in pruners():
        model, data = nets[net]()
        here = prune(model, data, pruner, density=0.6)
        with OnDevice():
            there = prune(put(nets[net]()[0]), data, pruner, density=0.6)
            check_masks(there, here)
        yield f"{net}: {pruner!r}"


class Killed(BaseException):
    pass


def go_on(nets):
    """Kill each pruner that trains in its second training."""
    from mitools.pruning import gradual, oto, prune, trained
    from mitools.pruning.pruners import keeps_checkpoints

    module_of = {"GradualMagnitude": gradual, "OTO": oto}
    for net, pruner in pruners():
        if not keeps_checkpoints(pruner) or type(pruner).__name__ == "MagnitudeAfterTraining":
            continue
        module = module_of.get(type(pruner).__name__, trained)
        whole, calls = module.train, []

        def deadly(*args, whole=whole, calls=calls, **kwargs):
            calls.append(1)
            if len(calls) == 2:
                raise Killed
            return whole(*args, **kwargs)

        model, data = nets[net]()
        here = prune(model, data, pruner, density=0.6)
        with OnDevice(), tempfile.TemporaryDirectory() as folder:
            model = put(nets[net]()[0])
            module.train = deadly
            try:
                prune(model, data, pruner, density=0.6, checkpoint=folder)
                raise AssertionError("it was to be killed")
            except Killed:
                pass
            finally:
                module.train = whole
            for _ in range(2):
                check_masks(prune(model, data, pruner, density=0.6, checkpoint=folder), here)
        yield f"killed and gone on with: {pruner!r}"


def look_at_it(nets):
    from mitools.effective import peff
    from mitools.mipp import Gaussian, mipp, moments
    from mitools.models import copied
    from mitools.pruning import SNIP, Mask, OneShot, ThiNet, prune, report, shrink
    from mitools.training import SGD, Training, evaluate, train

    training = Training(epochs=1, batch_size=12, optimizer=SGD(lr=0.05, momentum=0.9))
    net, data = nets["convolutional"]()
    found = mipp(net, data, Gaussian(), density=0.6, places=8)
    answers = {}
    for place in ("here", "there"):
        with OnDevice():
            model = nets["convolutional"]()[0]
            model = put(model) if place == "there" else model
            example = Pretended(data.inputs[:1]) if place == "there" else data.inputs[:1]
            again = mipp(model, data, Gaussian(), density=0.6, places=8)
            check_masks(again.mask, found.mask)
            summed = moments(model, data, places=8)
            assert mipp(model, summed, Gaussian(), density=0.6).mask == again.mask
            on_cpu = Mask({name: kept.cpu() for name, kept in again.mask.items()})
            small = [shrink(model, mask, example) for mask in (again.mask, on_cpu)]
            both = itertools.product((again.mask, on_cpu), (example, data.inputs))
            paths = [report(model, *given) for given in both]
            assert len({str(p) for p in paths}) == 1
            ThiNet(images=20).rescaled(model, on_cpu, data)
            masked = again.mask.apply_(copied(model))
            train(masked, data, training, mask=on_cpu)
            one_shot = prune(model, data, OneShot(SNIP()), density=0.3)
            p_eff = peff(model, one_shot, data, init=model).plain()
            answers[place] = [
                *(evaluate(s, data).loss for s in small), evaluate(masked, data).loss,
                p_eff.low, p_eff.high, paths[0].on_path,
            ]  # fmt: skip
            kinds = {type(p.detach()) for p in (*small[0].parameters(), *masked.parameters())}
            assert kinds == ({Pretended} if place == "there" else {torch.Tensor}), kinds
    for a, b in zip(*answers.values(), strict=True):
        assert abs(a - b) <= 1e-5 * abs(a), (a, b)
    yield "mipp, moments, shrink, report, rescaled, train, evaluate, peff"


def main():
    sys.path.insert(0, str(Path(__file__).parent))
    from example_nets import CHANNEL_NETS, NETS

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.tensor = tensor
    done = 0
    for part in (look_at_it, prune_everything, go_on):
        for said in part({**CHANNEL_NETS, **NETS}):
            print(said, flush=True)
            done += 1
    print(f"all {done} done")


if __name__ == "__main__":
    main()
