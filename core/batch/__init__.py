"""Turn many images into one request: rows of prompts, their wildcards, and the own values of each image.

All of it happens before a request is queued: the queue and the worker meet finished prompts and real seeds only.
"""
