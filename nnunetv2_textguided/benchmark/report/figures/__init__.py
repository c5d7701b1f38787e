"""The figures of a benchmark's report; one per file, all drawn by matplotlib."""
