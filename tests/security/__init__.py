"""Attacks, and what stands against each: docs/security.md lists them."""
