"""HTML and SVG made of values: every text is escaped, and only what is made here is markup."""

import html
from collections.abc import Iterable
from typing import TypeAlias

_EMPTY = frozenset({"meta", "img", "br", "path", "circle", "line", "rect", "polyline"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child: TypeAlias = str | float | Iterable["Child"] | None


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """Return an element.

    Parameters
    ----------
    name : str
        Of the element.
    *children : str, number, Markup, None, or iterable of these
        What it holds. Plain text is escaped, `Markup` is not; None is nothing.
    **attributes : str, number or None
        ``class_`` is ``class``, and ``data_v`` is ``data-v``. None leaves one out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY and not children:
        return Markup(f"<{name}{given}>" if name in ("meta", "img", "br") else f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{''.join(_flat(children))}</{name}>")


def joined(*children: Child) -> Markup:
    """Return several pieces as one."""
    return Markup("".join(_flat(children)))


def _flat(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str):
            yield html.escape(child, quote=False)
        elif isinstance(child, int | float):
            yield str(child)
        else:
            yield from _flat(child)
