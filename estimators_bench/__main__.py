"""Command line of the accuracy benchmark; run without arguments, the quick suite."""

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

    from estimators_bench.contenders import Contender
    from estimators_bench.tasks import Task

_COMMANDS = ("run", "report", "list")
_ABOUT = """\
How well do estimators of mutual information, bounds on mask information and feature selectors do
where the truth is known?

  python -m estimators_bench                       the quick suite, a table, and report.html
  python -m estimators_bench run --full            everything; takes hours, and can be interrupted
  python -m estimators_bench run --tasks 'normal-*' --methods 'KSG*' -n 1000 10000 --seeds 5
  python -m estimators_bench run --with my_method.py
  python -m estimators_bench report FOLDER         table and page of records made before
  python -m estimators_bench list                  names of tasks and methods

The same command again goes on where the last one was stopped; nothing is computed twice."""
_EXIT = """\
exit codes: 0 done, failures of methods included: they are rows; 2 input that cannot be used;
130 interrupted. Figures are in nats."""


@dataclass(frozen=True)
class Suite:
    """What is run unless the command line says otherwise."""

    sizes: tuple[int, ...]
    prunings: tuple[int, ...]
    seeds: int
    timeout: float
    only_fast: bool
    columns: float = math.inf


QUICK = Suite((1_000,), (16,), seeds=3, timeout=15.0, only_fast=True)
FULL = Suite((1_000, 10_000), (16, 64), seeds=1, timeout=120.0, only_fast=False, columns=100)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] not in (*_COMMANDS, "-h", "--help"):
        given = ["run", *given]
    options = _parser().parse_args(given)
    options.command = shlex.join(["python", "-m", "estimators_bench", *given])
    try:
        return options.act(options)
    except KeyboardInterrupt:
        print("estimators_bench: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has seen enough, as in `| head`
        sys.stderr.close()
        return 0
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        print(f"estimators_bench: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m estimators_bench",
        description=_ABOUT,
        epilog=_EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="compute what is missing, then report (the default)")
    _add_choice(run)
    run.add_argument("--out", type=Path, default=Path("bench-results"), metavar="FOLDER")
    run.add_argument("--jobs", type=int, help="processes, of one thread each (one a core)")
    run.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="of processor time for a unit (15 with fast methods only; else 120)",
    )
    run.add_argument("--memory", type=float, default=4.0, metavar="GB", help="for a process (4)")
    run.add_argument("--retry", action="store_true", help="what failed or timed out, again")
    run.add_argument("--fresh", action="store_true", help="forget what --out holds")
    run.add_argument("--quiet", action="store_true", help="no progress on stderr")
    run.set_defaults(act=_run)
    report = commands.add_parser("report", help="table and page of a folder of records")
    report.add_argument("folder", type=Path, nargs="?", default=Path("bench-results"))
    report.add_argument("--page", type=Path, metavar="FILE", help="HTML (FOLDER/report.html)")
    report.add_argument("--parquet", type=Path, metavar="FILE", help="records and costs too")
    report.set_defaults(act=_report)
    names = commands.add_parser("list", help="names of tasks and methods")
    names.add_argument("what", nargs="?", choices=("tasks", "methods"), help="only these")
    _add_files(names)
    names.set_defaults(act=_list)
    return parser


def _add_choice(run: argparse.ArgumentParser) -> None:
    suites = run.add_mutually_exclusive_group()
    suites.add_argument(
        "--quick",
        action="store_true",
        help="all tasks, fast methods, 1,000 samples or 16 masks, 3 seeds (the default)",
    )
    suites.add_argument(
        "--full",
        action="store_true",
        help="all methods; 1,000 and 10,000 samples, the latter of up to 100 columns; 16 and 64 "
        "masks; 1 seed",
    )
    run.add_argument("--tasks", nargs="+", metavar="NAME", help="names, families or patterns")
    run.add_argument("--methods", nargs="+", metavar="NAME", help="names, packages or patterns")
    run.add_argument("-n", "--sizes", type=int, nargs="+", metavar="N", help="samples")
    run.add_argument("--prunings", type=int, nargs="+", metavar="K", help="masks, for mask tasks")
    run.add_argument("--seeds", type=int, metavar="COUNT")
    _add_files(run)


def _add_files(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--with",
        type=Path,
        nargs="+",
        default=[],
        dest="files",
        metavar="FILE",
        help="Python files with CONTENDERS or TASKS of yours, a tuple each",
    )


def _run(options: argparse.Namespace) -> int:
    from estimators_bench.contenders import peers
    from estimators_bench.plan import chosen
    from estimators_bench.runner import run

    for line in peers.missing():
        print(line, file=sys.stderr)
    suite = FULL if options.full else QUICK
    tasks, methods = _catalogues(options.files)
    if options.tasks:
        tasks = chosen(options.tasks, tasks, "tasks")
    if options.methods:
        methods = chosen(options.methods, methods, "methods")
    elif suite.only_fast:
        methods = {name: method for name, method in methods.items() if method.fast}
    timeout = (QUICK if all(method.fast for method in methods.values()) else FULL).timeout
    try:
        found = run(
            tasks.values(),
            methods.values(),
            options.sizes or suite.sizes,
            suite.seeds if options.seeds is None else options.seeds,
            prunings=options.prunings or suite.prunings,
            columns=suite.columns if options.sizes is None else math.inf,
            out=options.out,
            jobs=options.jobs,
            timeout=timeout if options.timeout is None else options.timeout,
            memory=options.memory * 1e9,
            files=options.files,
            command=options.command,
            retry=options.retry,
            fresh=options.fresh,
            progress=not options.quiet,
        )
    except KeyboardInterrupt:
        again = "the same command without --fresh" if options.fresh else "the same command"
        print(
            f"estimators_bench: interrupted; what is done is in {options.out}, and {again} goes on "
            "from there",
            file=sys.stderr,
        )
        return 130
    return _shown(found, options.out / "report.html")


def _report(options: argparse.Namespace) -> int:
    from estimators_bench.records import frame, save_parquet

    found = frame(options.folder)
    if options.parquet is not None:
        save_parquet(found, options.parquet)
    return _shown(found, options.page or options.folder / "report.html")


def _shown(found: "DataFrame", path: Path) -> int:
    from estimators_bench.report import page, terminal

    print(terminal.table(found))
    counts = found["status"].value_counts()
    print("\n" + ", ".join(f"{count:,} {status}" for status, count in counts.items()))
    page.write(found, path)
    print(f"wrote {path}")
    return 0


def _list(options: argparse.Namespace) -> int:
    tasks, methods = _catalogues(options.files)
    if options.what != "methods":
        width = max(map(len, tasks))
        print(f"{'task':<{width}}  {'truth':>8}  family: what it is")
        for name, task in tasks.items():
            print(f"{name:<{width}}  {task.truth.nats:8.3f}  {task.family}: {task.about}")
    if options.what is None:
        print()
    if options.what != "tasks":
        width = max(map(len, methods))
        print(f"{'method':<{width}}  {'package':<14}  suite  what it is")
        for name, method in methods.items():
            suite = "quick" if method.fast else "full "
            print(f"{name:<{width}}  {method.package:<14}  {suite}  {method}")
    return 0


def _catalogues(files: Sequence[Path]) -> "tuple[dict[str, Task], dict[str, Contender]]":
    from estimators_bench.contenders import entrants
    from estimators_bench.plan import load_file
    from estimators_bench.tasks import catalogue
    from estimators_bench.tasks.kinds import by_name

    tasks: list[Any] = list(catalogue().values())
    methods: list[Any] = list(entrants().values())
    for path in files:
        more_tasks, more_methods = load_file(path)
        tasks.extend(more_tasks)
        methods.extend(more_methods)
    return by_name(tasks, "tasks"), by_name(methods, "methods")


if __name__ == "__main__":
    raise SystemExit(main())
