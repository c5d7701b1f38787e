"""Cross-validation of several trainers, and its report."""
