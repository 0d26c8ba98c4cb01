"""Serve the API that clients of OpenAI speak, below /v1."""
