"""PI-CAI: from the public archive to an nnU-Net raw data set, its checks, and the challenge's own evaluation."""
