"""How long pruners take here and in the repositories of their papers, on the same networks.

    python -m estimators_bench.pruner_speed --references FOLDER [--nets resnet20 vgg16]

FOLDER holds clones of ganguli-lab/Synaptic-Flow, alecwangcq/GraSP, naver/force, mil-ad/prospr and
mil-ad/snip, under those last names; what is missing is left out. Each line makes one mask of 5%
from the same batches: processor seconds of one thread, runs in turn, and the largest rise of
resident memory, each call in a process of its own. Times include what each does besides scoring,
such as copying the network.
"""

import argparse
import contextlib
import importlib
import io
import multiprocessing
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from estimators_bench.speed import clock
from mitools import models
from mitools.pruning import (
    FORCE,
    SNIP,
    GraSP,
    Iterative,
    OneShot,
    ProsPr,
    Pruner,
    SynFlow,
    prune,
)

DENSITY = 0.05
_Batches = list[tuple[Tensor, Tensor]]
_Call = Callable[[nn.Module, _Batches], object]


@dataclass(frozen=True)
class Case:
    """One pruner of ours, and who else has it."""

    name: str
    ours: Pruner
    theirs: tuple[tuple[str, _Call], ...]
    batches: int = 1
    batch_size: int = 128


def main() -> None:
    """Time everything and print one table."""
    options = _options()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread; density {DENSITY:.0%}, 3 x 32 x 32 noise")
    print(f"{'net':9} {'pruner':22} {'who':14} {'seconds':>8} {'ratio':>6} {'runs':>4} {'MiB':>6}")
    for net in options.nets:
        for case in _cases(options.references):
            if not options.only or case.name in options.only:
                _show(net, case, options.repeats)


def _show(net: str, case: Case, repeats: int) -> None:
    model, data = _NETS[net](), _data(case)
    calls = dict(_calls(case))
    ours = calls.pop("mitools")

    def timed(call: _Call) -> Callable[[], float]:
        return lambda: _quietly(call, model, data)

    others = {name: timed(call) for name, call in calls.items()}
    found = clock.paired(timed(ours), others, repeats, patience=60.0)
    for name, timing in found.items():
        peak = _memory(net, case, name)
        print(
            f"{net:9} {case.name:22} {name:14} {timing.seconds:8.2f} {timing.ratio:6.2f} "
            f"{timing.runs:4} {peak / 2**20:6.0f}",
            flush=True,
        )


def _quietly(call: _Call, model: nn.Module, data: _Batches) -> float:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        call(model, data)
    return 0.0


def _data(case: Case) -> _Batches:
    chance = torch.Generator().manual_seed(0)
    size = case.batch_size
    return [
        (torch.randn(size, 3, 32, 32, generator=chance), torch.arange(size) % 10)
        for _ in range(case.batches)
    ]


def _calls(case: Case) -> Iterator[tuple[str, _Call]]:
    yield "mitools", lambda model, data: prune(model, data, case.ours, density=DENSITY)
    yield from case.theirs


def _memory(net: str, case: Case, name: str) -> int:
    """Return the rise of resident memory in bytes, of one call in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (_FOLDER[0], net, case.name, name))


def _peak(folder: Path, net: str, case_name: str, name: str) -> int:
    torch.set_num_threads(1)
    case = next(case for case in _cases(folder) if case.name == case_name)
    model, data = _NETS[net](), _data(case)
    before = _status("VmRSS")
    _quietly(dict(_calls(case))[name], model, data)
    return _status("VmHWM") - before


def _status(entry: str) -> int:
    """Return a number of bytes that Linux knows of this process; its peak is not inherited."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(entry))


_NETS: dict[str, Callable[[], nn.Module]] = {
    "resnet20": lambda: models.resnet(20),
    "vgg16": lambda: models.vgg(16),
}
_FOLDER: list[Path] = []


def _cases(folder: Path) -> list[Case]:
    """Return the cases, each with those of its peers whose clone is there."""
    _FOLDER[:] = [folder]

    def there(*peers: tuple[str, _Call]) -> tuple[tuple[str, _Call], ...]:
        return tuple(peer for peer in peers if (folder / peer[0]).is_dir())

    return [
        Case("SNIP", OneShot(SNIP()), there(("snip", _snip), ("Synaptic-Flow", _flow("SNIP")))),
        Case(
            "GraSP, 250 images",
            OneShot(GraSP()),
            there(("GraSP", _grasp), ("Synaptic-Flow", _flow("GraSP"))),
            batches=2,
            batch_size=125,
        ),
        Case("FORCE, 10 rounds", FORCE(rounds=10), there(("force", _force(3)))),
        Case("IterSNIP, 10 rounds", Iterative(SNIP(), rounds=10), there(("force", _force(1)))),
        *(
            Case(
                f"SynFlow, {rounds} rounds",
                Iterative(SynFlow(), rounds),
                there(("Synaptic-Flow", _flow("SynFlow", rounds))),
                batch_size=1,
            )
            for rounds in (10, 100)
        ),
        Case(
            "ProsPr, first order",
            OneShot(ProsPr(precision="model", first_order=True)),
            there(("prospr", _prospr("first_order"))),
            batches=4,
        ),
        Case(
            "ProsPr",
            OneShot(ProsPr(precision="model")),
            there(("prospr", _prospr("full"))),
            batches=4,
            batch_size=64,
        ),
    ]


@contextlib.contextmanager
def _importable(repository: str, *modules: str) -> Iterator[list[Any]]:
    """Import modules of a clone; their names are forgotten afterwards, as clones share some."""
    path = str(_FOLDER[0] / repository)
    before = set(sys.modules)
    sys.path.insert(0, path)
    try:
        yield [importlib.import_module(module) for module in modules]
    finally:
        sys.path.remove(path)
        for name in set(sys.modules) - before:
            if getattr(sys.modules[name], "__file__", None) is None or path in str(
                sys.modules[name].__file__
            ):
                del sys.modules[name]


def _snip(model: nn.Module, data: _Batches) -> object:
    with _importable("snip", "snip") as (module,):
        return module.SNIP(model, DENSITY, data, torch.device("cpu"))


def _grasp(model: nn.Module, data: _Batches) -> object:
    with _importable("GraSP", "pruner.GraSP") as (module,):
        # It reads until it has seen one image more than it takes of every class.
        return module.GraSP(model, 1 - DENSITY, [*data, data[0]], "cpu", 10, 25, reinit=False)


def _force(method: int) -> _Call:
    def call(model: nn.Module, data: _Batches) -> object:
        with _importable("force", "pruning.pruning_algos") as (module,):
            return module.iterative_pruning(model, data, "cpu", DENSITY, method, 10)

    return call


def _prospr(method: str) -> _Call:
    def call(model: nn.Module, data: _Batches) -> object:
        with _importable("prospr", "prospr.prospr") as (module,):
            return module.prune(
                model,
                1 - DENSITY,
                data,
                lambda layer: isinstance(layer, nn.Conv2d | nn.Linear),
                num_steps=3,
                inner_lr=0.1,
                inner_momentum=0.0,
                method=method,
            )

    return call


def _flow(name: str, rounds: int = 1) -> _Call:
    """Return a pruner of Synaptic-Flow, on its own layers with our weights."""

    def call(model: nn.Module, data: _Batches) -> object:
        names = ("Pruners.pruners", "prune", "Utils.generator", "Layers.layers")
        with _importable("Synaptic-Flow", *names) as (pruners, loop, generator, layers):
            theirs = _with_layers(model, layers)
            pruner = getattr(pruners, name)(generator.masked_parameters(theirs))
            loss = functional.cross_entropy
            with contextlib.suppress(SystemExit):  # how it says that the count is off by five
                loop.prune_loop(
                    theirs, loss, pruner, data, "cpu", DENSITY, "exponential", "global", rounds
                )
            return pruner

    return call


def _with_layers(model: nn.Module, layers: Any) -> nn.Module:
    """Return a copy whose linear and convolutional layers are of another package's classes."""
    copied = models.copied(model)
    for module in list(copied.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                new = layers.Linear(child.in_features, child.out_features, child.bias is not None)
            elif isinstance(child, nn.Conv2d):
                new = layers.Conv2d(
                    child.in_channels,
                    child.out_channels,
                    child.kernel_size,
                    child.stride,
                    child.padding,
                    bias=child.bias is not None,
                )
            else:
                continue
            new.load_state_dict(child.state_dict(), strict=False)
            setattr(module, name, new)
    return copied


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m estimators_bench.pruner_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--references", type=Path, required=True, help="folder of clones")
    parser.add_argument("--nets", nargs="+", default=list(_NETS), choices=list(_NETS))
    parser.add_argument("--only", nargs="*", help="names of pruners, as printed")
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
