"""Benchmarks of this machine: `start.py bench`."""
