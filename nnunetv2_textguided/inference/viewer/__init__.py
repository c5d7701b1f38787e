"""HTML viewer of a prediction folder: opens from disk, needs no server and no network."""
