"""Learning from patients who have a report and no outline: pseudo-labels that agree with what the report counts."""
