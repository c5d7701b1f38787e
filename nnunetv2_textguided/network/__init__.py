"""The network: plain PyTorch on dynamic-network-architectures parts; nothing of nnU-Net's training."""

from nnunetv2_textguided.network.unet import AlignRefineUNet, Explanation

__all__ = ["AlignRefineUNet", "Explanation"]
