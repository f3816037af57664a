"""Comparing label maps with a reference, as the BraTS challenges do."""

from nnunet_resunet_ds.evaluation.case_metrics import evaluate_case

__all__ = ["evaluate_case"]
