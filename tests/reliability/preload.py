"""What the server process imports once for all children."""

from __future__ import annotations

import matplotlib
import nnunetv2.evaluation.evaluate_predictions
import nnunetv2.experiment_planning.plan_and_preprocess_api
import nnunetv2.inference.predict_from_raw_data
import nnunetv2.preprocessing.preprocessors.default_preprocessor
import nnunetv2.run.run_training
import nnunetv2.training.nnUNetTrainer.nnUNetTrainer
import scipy.ndimage

import nnunetv2_textguided.training.ablations
import tests.reliability.pinned

__all__ = ["matplotlib", "nnunetv2", "nnunetv2_textguided", "scipy", "tests"]
