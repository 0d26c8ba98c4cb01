"""Compare models and settings: each column generates the same prompts and seeds, is measured and voted on.

The pages, the command line and the service all use this package over the studio's own verbs.
"""
