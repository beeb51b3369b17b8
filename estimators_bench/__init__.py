"""What mitools measures of itself and of its peers: accuracy here, speed in a room beside it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from estimators_bench.records import frame as frame
    from estimators_bench.runner import run as run

__all__ = ["frame", "run"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    # On first use: workers and the speed benchmark choose their threads before numpy is loaded.
    if name == "run":
        from estimators_bench.runner import run

        return run
    if name == "frame":
        from estimators_bench.records import frame

        return frame
    raise AttributeError(f"module 'estimators_bench' has no attribute {name!r}")
