"""nnU-Net's fingerprint of a data set."""

from __future__ import annotations


def extract_fingerprint(dataset: int, foreground_voxels: float) -> None:
    """Extract it in one process.

    Args:
        dataset: id.
        foreground_voxels: voxels that are drawn for the statistics of intensities.
    """
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

    extractor = DatasetFingerprintExtractor(dataset, num_processes=1)
    extractor.num_foreground_voxels_for_intensitystats = foreground_voxels
    extractor.run()
