"""Volumes and their grids: read so that damage is an error, compared so that geometry is checked."""
