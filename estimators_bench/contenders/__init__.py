"""Everything that enters: our methods, the peers, bounds on mask information, and selectors."""

import importlib

from estimators_bench.contenders.kinds import Answer, Contender

__all__ = ["Answer", "Contender", "entrants"]

_MODULES = ("samples", "peers", "masks", "features")


def entrants() -> dict[str, Contender]:
    """Return all contenders by their names, in the order in which they are reported."""
    found: dict[str, Contender] = {}
    for module in _MODULES:
        for each in importlib.import_module(f"estimators_bench.contenders.{module}").CONTENDERS:
            if each.name in found:
                raise ValueError(f"two contenders are named {each.name!r}; names must be unique")
            found[each.name] = each
    return found
