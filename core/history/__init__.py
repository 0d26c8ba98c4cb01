"""Generated and imported images: rows, search, annotations, sweeps, importers, integrity."""
