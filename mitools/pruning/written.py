"""Pruners read back from what they print: a saved mask names its pruner by its repr."""

import ast
import dataclasses
from types import ModuleType
from typing import Any


def pruner_of(text: str, *more: ModuleType) -> Any:
    """Rebuild a pruner from its repr; no code in the text is run.

    Only the frozen values of `mitools.pruning` and `mitools.training` are known, called with
    literal arguments, and those of more modules.

    Parameters
    ----------
    text : str
        Such as ``"OneShot(score=SNIP(batches=None), scope='global')"``.
    *more : module
        Such as `mitools.mipp`, which is above this one.

    Raises
    ------
    ValueError
        If text is anything else.

    Examples
    --------
    >>> pruner_of("OneShot(score=SNIP(batches=2))")
    OneShot(score=SNIP(batches=2), scope='global')
    """
    import mitools.pruning
    import mitools.training

    try:
        pruner = value_of(text, mitools.pruning, mitools.training, *more)
    except ValueError as error:
        raise ValueError(
            "text must be the repr of a pruner of mitools, such as 'OneShot(score=SNIP())'; got "
            f"{error}. Pass the pruner itself."
        ) from None
    if not callable(getattr(type(pruner), "mask", None)):
        raise ValueError(
            f"text must name a pruner; {text[:200]!r} is none. Wrap a score in OneShot."
        )
    return pruner


def value_of(text: str, *modules: ModuleType) -> Any:
    """Rebuild a frozen value of these modules from its repr; no code in the text is run.

    Raises
    ------
    ValueError
        If text is anything else; it says what, in short.
    """
    known = {name: kind for module in modules for name, kind in _values(module).items()}
    try:
        return _built(ast.parse(text.strip(), mode="eval").body, known)
    except (SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text[:200]!r} ({type(error).__name__}: {error})") from None


def is_ours(pruner: Any) -> bool:
    """Return whether a pruner is made of values of mitools alone, and so holds no data."""
    try:
        return pruner_of(repr(pruner)) == pruner
    except ValueError:
        return False


def _values(module: ModuleType) -> dict[str, type]:
    return {name: kind for name, kind in vars(module).items() if _frozen(kind)}


def _frozen(kind: object) -> bool:
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return False
    return bool(kind.__dataclass_params__.frozen)  # pyright: ignore[reportAttributeAccessIssue]


def _built(node: ast.AST, known: dict[str, type]) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        positional = [_built(value, known) for value in node.args]
        named = {str(part.arg): _built(part.value, known) for part in node.keywords}
        return known[node.func.id](*positional, **named)
    if isinstance(node, ast.Tuple):
        return tuple(_built(value, known) for value in node.elts)
    try:
        return ast.literal_eval(node)  # pyright: ignore[reportArgumentType]
    except ValueError as error:
        raise TypeError(str(error)) from None
