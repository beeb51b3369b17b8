"""What a call costs: seconds, processor seconds, and memory."""

import contextlib
import ctypes
import sys
import time
from pathlib import Path
from typing import Any, Self

_STATUS, _REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Meter:
    """Measures the block under it.

    ``seconds`` is wall time, and ``cpu_seconds`` the processor time of the whole process.
    ``peak_bytes`` is how far resident memory rose above where it was at the start of the block,
    data included there. On Linux the kernel's mark of the highest resident memory is set back
    before each block, and memory that the allocator had kept is returned first, so that earlier
    blocks leave no trace. Elsewhere only what exceeds the highest mark of the whole process is
    seen: 0 says "no more than something before".
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        self.cpu_seconds: float | None = None
        self.peak_bytes: int | None = None

    def __enter__(self) -> Self:
        self._resets = _reset_peak()
        self._start_bytes = _resident()["VmRSS"] if self._resets else _highest()
        self._start_cpu, self._start = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = round(time.perf_counter() - self._start, 6)
        self.cpu_seconds = round(time.process_time() - self._start_cpu, 6)
        peak = _resident()["VmHWM"] if self._resets else _highest()
        self.peak_bytes = max(0, peak - self._start_bytes)

    def cost(self) -> dict[str, Any]:
        """Return the three measurements, None before there are any."""
        return {
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "peak_bytes": self.peak_bytes,
        }


def _reset_peak() -> bool:
    """Forget the highest resident memory so far; return whether that is possible here."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
    try:
        _REFERENCES.write_text("5")
        return {"VmRSS", "VmHWM"} <= _resident().keys()
    except OSError:
        return False


def _resident() -> dict[str, int]:
    lines = (line.split() for line in _STATUS.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if "kB" in words}


def _highest() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )
