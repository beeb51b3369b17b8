"""The command `mitools`: results on stdout, progress and errors on stderr, telling exit codes."""

import argparse
import importlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mitools.cli import demo, effective, pruning, sweep

_ABOUT = """\
Effective parameters of pruned networks: p_eff = E|mask|_1 + I(mask; data).

A mask that was chosen by looking at the data carries information about them, and that
information counts like weights. mitools prunes networks, and bounds it from both sides.

  mitools demo                                    the whole story on scikit-learn's digits
  mitools prune --data digits --flips 0.2 \\
      --model mlp:64-100-100-10 --pruner snip --density 0.1 --out mask.safetensors
  mitools peff  --data digits --flips 0.2 \\
      --model mlp:64-100-100-10 --mask mask.safetensors
  mitools prune --data digits --model lenet-5 --train 10 --method mipp --density 0.2 \\
      --shrink small.safetensors --reconstruct      physically smaller, no training
  mitools sweep examples/sweep.toml               pruners x densities x seeds, resumable
  mitools bench                                   every estimator where the truth is known
"""
_EXIT = """\
exit codes: 0 done; 1 a fault of mitools; 2 input that cannot be used; 130 interrupted.
Figures are in nats (1 nat = 1.4427 bits). In Python: from mitools import peff, prune."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = argparse.Namespace(run=_bench, given=given[1:])
    if given[:1] != ["bench"]:  # which reads its own options
        options = _parser().parse_args(given)
    try:
        with _ending_as_by_ctrl_c():
            return options.run(options)
    except KeyboardInterrupt:
        print("mitools: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough, as in `| head`
        sys.stderr.close()
        return 0
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        print(f"mitools: {error}", file=sys.stderr)
        return 2


@contextmanager
def _ending_as_by_ctrl_c() -> Iterator[None]:
    """Take SIGTERM for an interruption inside, so that processes that were started end too."""
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "mitools",
        description=_ABOUT,
        epilog=_EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo.add_to(commands)
    pruning.add_to(commands)
    effective.add_to(commands)
    sweep.add_to(commands)
    commands.add_parser(
        "bench", help="run estimators, bounds and selectors where the truth is known"
    )
    return parser


def _bench(options: argparse.Namespace) -> int:
    # By name, when asked: the library does not know its benchmark.
    try:
        bench = importlib.import_module("estimators_bench.__main__")
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "estimators_bench":
            raise
        raise ImportError(
            "bench needs the package estimators_bench, which is not installed beside mitools; "
            "install mitools from its repository."
        ) from None
    return bench.main(options.given)
