"""Files that appear whole or not at all, and folders that one process has to itself."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name to write to inside; what is there then takes the place of `path` in one step.

    If anything goes wrong, what was at `path` before is still there, and nothing else.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def locked(folder: Path, argument: str) -> int | None:
    """Return a descriptor of the folder that nobody else can have until it is closed, or we end.

    Raises
    ------
    ValueError
        If somebody has it; `argument` is what the message calls the folder.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ValueError(
            f"{argument} must be a folder that no other run is using; {folder} has one. Wait for "
            "it, or name another folder."
        ) from None
    return descriptor
