"""Programs that produce the numbers of docs/benchmarks.md: ``python -m benchmarks``."""
