"""Prompt banks, case text, text encoders and the embedding file."""
