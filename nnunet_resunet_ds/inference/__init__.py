"""Prediction in one process."""

from nnunet_resunet_ds.inference.predictor import Predictor

__all__ = ["Predictor"]
