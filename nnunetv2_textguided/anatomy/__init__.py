"""Anatomy: label maps that give text concepts supervision of their own without being segmentation classes."""
