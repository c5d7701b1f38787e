"""The report of a benchmark: `analysis` says in which order everything is made."""
