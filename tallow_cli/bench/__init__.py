"""Benchmarks of the real path: scenarios, the runner of worker processes, the report."""
