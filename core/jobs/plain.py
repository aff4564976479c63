"""What the queue library writes to Redis, as JSON: it pickles, and who reads a pickle runs what its writer wants.

Docket has no setting for that. It imports ``cloudpickle`` by name in several modules, so a module of that name that
reads and writes JSON stands in the way before docket is imported. See docs/adr/0054.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

_NAME: Final = "cloudpickle"


def dumps(value: object) -> bytes:
    """Texts, numbers, lists and the like as JSON; of anything else, such as an exception, the name of its type."""
    return json.dumps(value, default=lambda other: type(other).__name__).encode()


class Arguments(tuple[Any, ...]):
    """A task's positional arguments. Docket reads those by name through the same function: there are never any."""

    def keys(self) -> tuple[str, ...]:
        """Names of arguments: none."""
        return ()

    def items(self) -> tuple[tuple[str, Any], ...]:
        """Names and arguments: none."""
        return ()


def loads(data: bytes) -> Arguments:
    """The way back of a list. What is no JSON, or no list, is as good as no arguments at all.

    It raises nothing, and docket can always call with it: a worker that ends over a message reads it again when it
    starts.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    return Arguments(value if isinstance(value, list) else ())


def install() -> None:
    """Put this module in the place of ``cloudpickle``. Raises RuntimeError if docket has been imported before."""
    here = sys.modules[__name__]
    if "docket" in sys.modules and sys.modules.get(_NAME) is not here:
        raise RuntimeError("docket was imported before core.jobs, and would read pickles")
    sys.modules[_NAME] = here
