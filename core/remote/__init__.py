"""Another studio, asked over HTTP in its own dialect: a client, and a generator that has it draw.

What this package does not know: the queue and the history of this studio, pages, torch.
"""
