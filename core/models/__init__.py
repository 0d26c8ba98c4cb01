"""Manage models on disk: the catalogue, validation of files, families, LoRAs, downloads. Nothing here loads weights."""
