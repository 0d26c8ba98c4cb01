"""Render the parts of pages."""
