"""Named tensors in one file that executes nothing when read, and appears whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mitools._files import replacing
from mitools._validation import FileFormatError
from mitools.models.identity import digest

_ENTRY = "mitools"


def save_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    *,
    kind: str,
    metadata: Mapping[str, Any],
) -> None:
    """Write tensors with their metadata as safetensors, atomically.

    Parameters
    ----------
    path : path
        The file; an older one is replaced in a single step once the new one is complete.
    tensors : mapping of str to torch.Tensor
        Copied to the CPU and made contiguous if they are not.
    kind : str
        What the file is, for instance "mask": ``load_tensors`` asks for it.
    metadata : mapping
        Plain values, stored as JSON beside a checksum of everything.
    """
    path = Path(path)
    # A copy of its own for each: safetensors refuses tensors that share memory.
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain[name] = tensor.detach().cpu().contiguous()
        if plain[name].untyped_storage().data_ptr() in seen:
            plain[name] = plain[name].clone()
        seen.add(plain[name].untyped_storage().data_ptr())
    text = json.dumps(dict(metadata), sort_keys=True)
    entry = {"kind": kind, "metadata": text, "sha256": _checksum(plain, kind, text)}
    with replacing(path) as partial:
        save_file(plain, partial, metadata={_ENTRY: json.dumps(entry)})


def load_tensors(
    path: str | os.PathLike[str], *, kind: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors, on the CPU, and the metadata that ``save_tensors`` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If it is not such a file, of another kind, cut short or altered. Nothing is ever unpickled.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(9)
    # The length that begins safetensors may begin like a pickle, but a brace follows it.
    if start[8:] != b"{" and start.startswith((b"\x80", b"PK\x03\x04")):
        raise FileFormatError(
            f"path must be a {kind} file (safetensors); {path.name} is a pickle or a torch.save "
            "archive, which could run code and is never opened here. Read it with "
            "torch.load(..., weights_only=True) and save what it holds again."
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            stored = (file.metadata() or {}).get(_ENTRY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise FileFormatError(
            f"path must be a {kind} file (safetensors); {path.name} "
            f"({path.stat().st_size:,} bytes) is corrupt, cut short or something else ({error}). "
            "Write or copy it again."
        ) from None
    return tensors, _checked_metadata(path, tensors, stored, kind)


def _checked_metadata(
    path: Path, tensors: dict[str, Tensor], stored: str | None, kind: str
) -> dict[str, Any]:
    try:
        entry = json.loads(stored or "null")
        found, text, checksum = entry["kind"], entry["metadata"], entry["sha256"]
    except (ValueError, TypeError, KeyError):
        raise FileFormatError(
            f"path must be a {kind} file written by mitools; {path.name} is safetensors from "
            f"elsewhere, with tensors {', '.join(sorted(tensors)[:5]) or '(none)'}. Was another "
            "file meant?"
        ) from None
    if found != kind:
        raise FileFormatError(
            f"path must be a {kind} file; {path.name} is a {found} file. Was another file meant?"
        )
    if checksum != _checksum(tensors, kind, text):
        raise FileFormatError(
            f"path must be an intact {kind} file; the checksum of {path.name} is wrong, so bytes "
            "were altered since it was written. Write or copy it again."
        )
    return json.loads(text)


def _checksum(tensors: Mapping[str, Tensor], kind: str, text: str) -> str:
    return digest({name: tensors[name] for name in sorted(tensors)}, f"{kind}\n{text}\n")
