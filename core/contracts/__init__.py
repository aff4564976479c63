"""Types that cross a wire. No numpy, no web framework, no queue, no ML library in here."""

from core.contracts.base import DISCLAIMER, Contract

__all__ = ["DISCLAIMER", "Contract"]
