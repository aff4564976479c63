"""Figures of merit, their intervals, what a trivial method reaches on the same data, and scoring a run or a bundle."""
