"""Text-guided 3D lesion segmentation inside stock nnU-Net v2 (*Align then Refine*, arXiv 2604.18713)."""

__version__ = "0.1.0"
