"""Records made by hand, for the tests of the report."""

import math

import numpy as np
import pandas as pd


def row(task="t", contender="c", error=0.0, **given):
    """Return a record; what is not given is plain."""
    truth = given.pop("truth", 1.0)
    interval, sense = given.pop("interval", None), given.pop("sense", "point")
    value = given.pop("value", truth + error)
    ok = given.get("status", "ok") == "ok"
    slack = given.get("truth_error", 0.0)
    covered = None if interval is None else interval[0] - slack <= truth <= interval[1] + slack
    plain = {
        "task": task,
        "family": "Family",
        "kind": "samples",
        "question": "mutual_information",
        "dims": (1, 1),
        "contender": contender,
        "method": f"{contender}()",
        "package": "mitools",
        "version": "1.0",
        "n": 1000,
        "seed": 0,
        "truth": truth,
        "truth_error": slack,
        "status": "ok",
        "value": value if ok else math.nan,
        "error": value - truth if ok else math.nan,
        "sense": sense if ok else None,
        "interval": interval,
        "confidence": 0.95 if ok else math.nan,
        "covered": covered,
        "notes": [],
        "extra": {},
        "message": "",
        "seconds": 0.1,
        "cpu_seconds": 0.1,
        "peak_bytes": 1e6,
        "first": False,
    }
    assert given.keys() <= plain.keys(), given
    return plain | given


def frame(*rows):
    return pd.DataFrame(list(rows))


def varied(seed=0):
    """Return records of everything there is: estimates, bounds, masks, choices, failures."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in (100, 1000):
        for s in range(3):
            for i in range(4):
                for name, size in (("good", 0.1), ("poor", 0.5)):
                    error = size * float(rng.standard_normal()) * (100 / n) ** 0.5
                    around = (1.0 + error - 0.2, 1.0 + error + 0.2)
                    rows.append(row(f"t{i}", name, error, n=n, seed=s, interval=around))
                rows.append(
                    row(
                        f"t{i}", "lower", -0.2, n=n, seed=s, sense="lower", interval=(0.7, math.inf)
                    )
                )
            lost = {"status": "timed out", "message": f"no answer within {s} s"}
            rows.append(row("t0", "late", n=n, seed=s, seconds=math.nan, **lost))
    for s in range(3):
        masks = {
            "family": "Masks",
            "kind": "masks",
            "question": "mask_information",
            "n": 16,
            "seed": s,
            "dims": (64,),
        }
        rows.append(
            row(
                "m",
                "code",
                value=60.0,
                truth=40.0,
                sense="upper",
                interval=(-math.inf, 62.0),
                **masks,
            )
        )
        rows.append(
            row(
                "m",
                "decode",
                value=50.0,
                truth=40.0,
                sense="lower",
                interval=(45.0, math.inf),
                **masks,
            )
        )
        chosen = {"family": "Choices", "kind": "selection", "question": "selection", "seed": s}
        rows.append(row("s", "right", extra={"minimal": True, "spare": 0}, **chosen))
        rows.append(row("s", "wrong", -0.5, extra={"minimal": False, "spare": 2}, **chosen))
    return frame(*rows)
