"""How fast jobs are worked off, and what that means for who waits."""

from __future__ import annotations

from collections.abc import Sequence


class Pace:
    """How fast jobs are worked off: the mean ``run_s`` in seconds, and for how long the running ones have run."""

    def __init__(self, run_s: float, elapsed_s: Sequence[float]) -> None:
        self.run_s = run_s
        self.elapsed_s = sorted(elapsed_s, reverse=True)

    def until_next_start_s(self) -> float:
        """Until a running job ends and a waiting one may start; a whole run where none runs that could end."""
        return max(1.0, self.run_s - self.elapsed_s[0]) if self.elapsed_s else max(1.0, self.run_s)

    def until_end_s(self, position: int) -> float:
        """Until the job at ``position`` in the queue (1 is next) has probably ended; 0 is a running one."""
        if position == 0:
            return self.until_next_start_s()
        rounds = (position - 1) // max(1, len(self.elapsed_s))
        first = self.until_next_start_s() if self.elapsed_s else 0.0
        return max(1.0, first + (rounds + 1) * self.run_s)
