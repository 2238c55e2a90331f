"""The figures we promise, measured: ``python -m benchmarks``."""
