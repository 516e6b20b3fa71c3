"""Benchmarks: latency, memory, operating points, and the reports that show them."""
