"""Structured logs without patient data, and Prometheus metrics."""
