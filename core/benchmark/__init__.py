"""Models and settings compared: the same prompts and seeds by each of several columns, measured and voted on.

The pages, the command line and the service all use this room over the studio's own verbs.
"""
