"""The one door to nnU-Net: data sets, plans, labels, splits, folders and checkpoints, with typed answers."""
