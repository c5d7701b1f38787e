"""DICOM in and out: series found by their attributes, volumes with checked geometry, segmentations and reports."""
