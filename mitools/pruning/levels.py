"""What a pruner that trains has done so far, in a directory: call it again and it goes on."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from mitools._files import replacing
from mitools._validation import FileFormatError
from mitools.models import fingerprint
from mitools.pruning.mask import Mask
from mitools.training.checkpoint import differences
from mitools.training.evaluation import place_of
from mitools.training.passes import passes_over


class Levels:
    """The masks of finished levels, and the file of the training under way.

    Parameters
    ----------
    directory : path or None
        Made if it does not exist. None: nothing is kept.
    pruner : Any
        Whose levels they are; its repr is kept.
    counts : sequence of int
        Survivors after each level.
    model : nn.Module
        At its initial weights.
    data : Any
        The training data.

    Raises
    ------
    ValueError
        If the directory belongs to another run: the message names the differences.
    FileFormatError
        If a file in it is broken.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None,
        pruner: Any,
        counts: Sequence[int],
        model: nn.Module,
        data: Any,
    ) -> None:
        self._directory = None if directory is None else Path(directory)
        self._count = len(counts)
        if self._directory is None:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        training = pruner.training
        passes = passes_over(data, training.batch_size, training.seed, *place_of(model))
        self._claim(
            {
                "pruner": repr(pruner),
                "counts": list(counts),
                "weights": fingerprint(model),
                "data": passes.describe(),
            }
        )

    def training_at(self, level: int) -> Path | None:
        """Return the file of the training of a level; level 0 leads to the rewinding point."""
        return self._file(level, "training")

    def load(self) -> list[Mask]:
        """Return the masks of the levels that are finished."""
        masks: list[Mask] = []
        for level in range(1, self._count + 1):
            path = self._file(level, "mask")
            if path is None or not path.exists():
                break
            masks.append(Mask.load(path))
        return masks

    def save(self, level: int, mask: Mask) -> None:
        """Keep the mask of a level; of the trainings, only the last level's stays."""
        path, training = self._file(level, "mask"), self.training_at(level)
        if path is None or training is None:
            return
        mask.save(path)
        if level < self._count:
            training.unlink(missing_ok=True)

    def _file(self, level: int, kind: str) -> Path | None:
        if self._directory is None:
            return None
        return self._directory / f"level-{level:03d}.{kind}.safetensors"

    def _claim(self, identity: dict[str, Any]) -> None:
        """Write down whose directory this is, or check that it is ours."""
        assert self._directory is not None
        path = self._directory / "run.json"
        if not path.exists():
            with replacing(path) as partial:
                partial.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
            return
        try:
            found = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise FileFormatError(
                f"checkpoint must be a directory that pruning wrote; its {path.name} cannot be "
                f"read ({error}). Use another directory, or empty this one."
            ) from None
        different = differences(found, identity)
        if different:
            raise ValueError(
                f"checkpoint must be of this pruning; the directory {self._directory.name!r} is "
                f"of another: {different}. Use another directory, or empty this one."
            )
