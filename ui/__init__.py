"""The pages. They know the studio's verbs, and no torch, no SQL and no path of an image."""
