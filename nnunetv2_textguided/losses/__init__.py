"""The losses, as functions of plain tensors."""
