"""Many images as one request: rows of prompts, their wildcards, and what each image has of its own.

All of it happens before a request is queued: the queue and the worker meet finished prompts and real seeds only.
"""
