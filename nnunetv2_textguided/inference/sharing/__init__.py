"""Trained models as folders that others can install: no pickle, a checksum of each file, a model card."""
