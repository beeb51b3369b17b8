"""Mask files, our own and those of other tools, read without ever running code from them."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mitools._validation import FileFormatError
from mitools.models import load_tensors, save_tensors
from mitools.pruning.binary import as_bool


def read_file(path: str | os.PathLike[str]) -> tuple[Any, str]:
    """Return what a mask file holds, and its kind; the content decides, not the suffix.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If it is corrupt, cut short, of another kind, or holds objects other than tensors.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":  # after its length, whose first byte may be that of a pickle
        reader, kind = _safetensors, "safetensors file"
    elif start.startswith(b"\x93NUMPY") or (start.startswith(b"PK") and not _is_torch(path)):
        reader, kind = _numpy, "NumPy file"
    elif start.startswith((b"PK", b"\x80")):
        reader, kind = _torch, "torch file"
    else:
        reader, kind = _safetensors, "safetensors file"
    try:
        return reader(path), kind
    # A hostile or damaged file can fail in any way; what it cannot do is run code.
    except Exception as error:
        raise FileFormatError(
            "mask file must be .safetensors, .npz or a torch file of plain tensors; "
            f"{path.name} ({path.stat().st_size:,} bytes), read as a {kind}, failed with "
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''} Is it cut "
            "short, or does it hold Python objects? Those are never loaded: save tensors only."
        ) from None


def save_mask(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], *, pruner: Any, **provenance: Any
) -> None:
    """Write a mask as safetensors, atomically; the pruner becomes its repr."""
    text = pruner if pruner is None or isinstance(pruner, str) else repr(pruner)
    metadata = {**provenance, "pruner": text, "names": list(tensors)}
    save_tensors(path, tensors, kind="mask", metadata=metadata)


def load_mask(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what `save_mask` wrote: the tensors in their order, and the provenance."""
    stored, plain = load_tensors(path, kind="mask")
    try:
        tensors = {name: _boolean(name, stored) for name in plain.pop("names")}
        wrong = {k: v for k, v in plain.items() if not isinstance(v, _PLAIN.get(k, ()))}
        if wrong or plain.keys() != _PLAIN.keys() or tensors.keys() != stored.keys():
            raise KeyError(", ".join(wrong) or "names")
    except (KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(
            f"path must be a mask file; the metadata of {os.path.basename(path)} is incomplete or "
            f"wrong ({type(error).__name__}: {error}). Write the file again."
        ) from None
    return tensors, plain


_PLAIN = {
    "pruner": (str, NoneType),
    "density": (float, int, NoneType),
    "fingerprint": (str, NoneType),
    "source": (str,),
}


def _boolean(name: str, stored: Mapping[str, Tensor]) -> Tensor:
    return stored[name] if stored[name].dtype == torch.bool else as_bool(name, stored[name])


def is_mask_file(path: str | os.PathLike[str]) -> bool:
    """Return whether the file is safetensors written by this package."""
    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            return "mitools" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _is_torch(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return not any(name.endswith(".npy") for name in archive.namelist())
    except zipfile.BadZipFile:
        return True  # its reader says what is wrong


def _safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt", device="cpu") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _numpy(path: Path) -> Any:
    content = np.load(path, allow_pickle=False)
    if isinstance(content, np.ndarray):
        return content
    with content:
        arrays = {name: content[name] for name in content.files}
    odd = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if odd:
        raise ValueError(f"{', '.join(odd)} no array")
    return arrays


def _torch(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)
