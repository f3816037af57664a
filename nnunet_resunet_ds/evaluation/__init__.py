"""Compare label maps with a reference, as the BraTS challenges do."""

from nnunet_resunet_ds.evaluation.case_metrics import evaluate_case
from nnunet_resunet_ds.evaluation.cohort_metrics import evaluate

__all__ = ["evaluate", "evaluate_case"]
