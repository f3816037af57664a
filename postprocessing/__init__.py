"""From region probabilities to a label map: nested thresholds, then the enhancing-tumour rules."""

from postprocessing.case import postprocess
from postprocessing.config import PostprocessingConfig
from postprocessing.further_region import FurtherRegion

__all__ = ["FurtherRegion", "PostprocessingConfig", "postprocess"]
