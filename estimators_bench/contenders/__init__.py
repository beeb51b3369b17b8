"""Everything that enters: our methods, the peers, bounds on mask information, and selectors."""

import importlib

from estimators_bench.contenders.kinds import Answer, Contender
from estimators_bench.tasks.kinds import by_name

__all__ = ["Answer", "Contender", "entrants"]

_MODULES = ("samples", "peers", "masks", "features")


def entrants() -> dict[str, Contender]:
    """Return all contenders by their names, in the order in which they are reported."""
    modules = (importlib.import_module(f"estimators_bench.contenders.{name}") for name in _MODULES)
    return by_name((each for module in modules for each in module.CONTENDERS), "contenders")
