"""Measure this machine: `start.py bench`."""
