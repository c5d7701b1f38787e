"""Plans that count the memory of all encoders, and weights of stock nnU-Net converted."""
