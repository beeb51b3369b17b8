"""`mitools peff`: effective parameters of a saved mask."""

import argparse
from pathlib import Path
from typing import Any

from mitools.cli.setting import add_setting, model_of, processes, samples_of


def add_to(commands: Any) -> None:
    """Add the command."""
    peff = commands.add_parser(
        "peff",
        help="effective parameters of a saved mask",
        description="Bound the effective parameter count of a mask: the weights it keeps, and the "
        "information on the data that it holds, in nats. Data and network must be those of "
        "`mitools prune`. A pruner that does not train is run again on 16 other data sets for a "
        "tighter upper bound, others with --resample.",
    )
    add_setting(peff)
    peff.add_argument(
        "--mask",
        type=Path,
        required=True,
        metavar="FILE",
        help="the mask: a .safetensors, .npz or torch file",
    )
    peff.add_argument(
        "--resample", type=int, metavar="K", help="run the pruner again on K other data sets"
    )
    peff.add_argument(
        "--heldout",
        action="store_true",
        help="bound from below by how the masked, untrained network does on the test split, too",
    )
    peff.add_argument("--bits", action="store_true", help="print p_eff in bits, too")
    peff.add_argument("--json", type=Path, metavar="FILE", help="save the whole answer")
    peff.add_argument("--jobs", type=processes, metavar="N", help="processes for --resample (1)")
    peff.add_argument(
        "--limit",
        choices=("certified", "student"),
        default="certified",
        help="upper limit of --resample: one that always holds (certified), or Student's, which is "
        "closer and approximate",
    )
    peff.set_defaults(run=_peff)


def _peff(options: argparse.Namespace) -> int:
    from mitools.effective import (
        Counting,
        GeneralisationGap,
        ResampledMasks,
        peff,
    )
    from mitools.effective.prequential import affordable_decoders
    from mitools.pruning import Mask

    samples, model = samples_of(options, train=True), model_of(options)
    if not options.mask.is_file():
        raise ValueError(f"--mask must be a file; there is none at {options.mask}.")
    mask = Mask.of(options.mask, model)
    heldout = samples_of(options, train=False) if options.heldout else None
    method = None
    if options.resample is not None:
        method = [
            Counting(),
            ResampledMasks(datasets=options.resample, n_jobs=options.jobs, limit=options.limit),
        ]
        method += affordable_decoders(mask, samples)[-1:] if options.flips else []
        method += [GeneralisationGap()] if options.heldout else []
    answer = peff(
        model, mask, samples, method, init=model, heldout=heldout, progress=not options.quiet
    )
    print(answer)
    if options.bits:
        print(f"  in bits      p_eff = {answer.plain('bits')}")
    if options.json is not None:
        answer.save(options.json)
        print(f"wrote {options.json}")
    return 0
