"""Does this installation work, and if not, why not? Checks run in a fresh interpreter, one after the other."""
