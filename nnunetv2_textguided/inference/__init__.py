"""Prediction with the evidence: masks as nnU-Net's, heatmaps, candidates, overlays, viewer, container."""
