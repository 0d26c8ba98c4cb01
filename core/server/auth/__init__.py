"""Decide who may use the studio: one token, or users with passwords; sessions of browsers; how often one may try."""
