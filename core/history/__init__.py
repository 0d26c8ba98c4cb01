"""Keep generated and imported images: rows, search, annotations, sweeps, importers, integrity."""
