"""Jobs through real processes that are killed, starved and cut off meanwhile: ``python -m drills.chaos``."""
