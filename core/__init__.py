"""Z Darkroom: the studio without its pages."""

__version__ = "0.1.0"
