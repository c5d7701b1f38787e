"""Scores of cases, their estimates and their comparison: one rule of the field in one place."""
