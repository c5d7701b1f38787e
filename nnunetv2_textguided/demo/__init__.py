"""A procedural phantom, a training and a prediction on it, and a report."""
