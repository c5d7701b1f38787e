"""Paired comparison of models that were validated on the same cases; one idea per file."""
