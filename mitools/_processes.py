"""Calls of one function, in order, from as many processes as asked for."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from joblib import Parallel, delayed
from tqdm.auto import tqdm


def evaluate_all(
    function: Callable[..., Any],
    arguments: Iterable[tuple[Any, ...]],
    total: int,
    n_jobs: int = 1,
    progress: bool = False,
) -> Iterator[Any]:
    """Yield function(*a) for each of the arguments, in their order, from n_jobs processes."""
    if n_jobs == 1:
        results: Iterable[Any] = (function(*a) for a in arguments)
    else:
        parallel = Parallel(n_jobs=n_jobs, return_as="generator")
        results = parallel(delayed(function)(*a) for a in arguments)  # pyright: ignore[reportAssignmentType]
    yield from tqdm(results, total=total, disable=not progress)
