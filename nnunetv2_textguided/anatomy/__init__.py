"""Anatomy: label maps that give text concepts evidence of their own without being segmentation classes."""
