"""Command line of the speed benchmark."""

import argparse
import os
import warnings
from pathlib import Path

# One thread means one thread: set before anything loads a linear algebra library.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")


def main() -> None:
    """Time everything and say what came out."""
    import numba

    from estimators_bench.speed import cases, clock, growth, peers, report

    options = _options()
    warnings.simplefilter("ignore")
    numba.set_num_threads(1)
    setting = report.environment(
        [
            "mitools",
            "numpy",
            "scipy",
            "numba",
            "scikit-learn",
            "npeet-plus",
            "ennemi",
            "infomeasure",
        ]
    )
    print("; ".join(f"{key} {value}" for key, value in setting.items()))
    missing = {peer.name: reason for peer in peers.PEERS if (reason := peer.missing())}
    for name, reason in missing.items():
        print(f"left out: {name}: {reason}")
    rows = []
    for case in cases.CASES:
        if options.only and not any(part in case.name for part in options.only):
            continue
        x, y = case.samples()
        theirs = case.theirs(x, y)
        if options.peers is not None:
            theirs = {name: call for name, call in theirs.items() if name in options.peers}
        timings = clock.paired(case.ours(x, y), theirs, options.repeats, options.patience)
        for name, found in timings.items():
            times = 1 if name == "mitools" else case.weight
            rows.append(
                report.Row(
                    case.name,
                    name,
                    found.seconds * times,
                    found.runs,
                    found.ratio * times,
                    found.value,
                    case.goal,
                )
            )
        print(f"done: {case.name}", flush=True)
    extra: dict[str, object] = {"environment": setting, "left out": missing}
    print(report.table(rows))
    if options.threads:
        extra["second thread"] = _second_thread(options.repeats)
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    if options.growth:
        sizes = [n for n in growth.SIZES if n <= options.largest]
        points = growth.measured(sizes, growth.DIMENSIONS, print)
        slopes = growth.drawn(points, folder / "growth.png")
        extra["growth"] = [vars(p) for p in points]
        print(f"cost grows as n^{slopes[0]:.2f} for (1,1), and as d^{slopes[1]:.2f} at n = 10,000")
    report.save(rows, extra, folder)


def _second_thread(repeats: int) -> dict[str, float]:
    import numba

    from estimators_bench.speed import cases, clock

    gains = {}
    for name in ("(1,1), n = 1e6", "(2,2), n = 1e5", "(10,10), n = 1e4"):
        case = next(c for c in cases.CASES if c.name == name)
        call = case.ours(*case.samples())
        gains[name] = clock.gain_of_a_second_thread(call, numba.set_num_threads, repeats)
        print(f"two threads, {name}: {gains[name]:.2f}x as fast as one, wall time")
    return gains


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m estimators_bench.speed", description=__doc__)
    parser.add_argument("--only", nargs="*", help="parts of the names of the cases to run")
    parser.add_argument("--peers", nargs="*", help="names of the peers to run, if not all")
    parser.add_argument("--repeats", type=int, default=5, help="paired runs a contender")
    parser.add_argument("--patience", type=float, default=150.0, help="seconds a contender a case")
    parser.add_argument("--growth", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--largest", type=int, default=10_000_000, help="largest n of the growth")
    parser.add_argument("--threads", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--out", default="speed-results", help="folder for csv, json and figure")
    return parser.parse_args()


if __name__ == "__main__":
    main()
