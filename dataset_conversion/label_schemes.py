"""The label values that BraTS has used, and what each means."""

from collections.abc import Mapping
from typing import TypeAlias

from nnunet_resunet_ds.base.regions import Tissue

LabelScheme: TypeAlias = Mapping[int, Tissue]
"""Raw label value → tissue, one to one."""

CLASSIC: LabelScheme = {0: Tissue.BACKGROUND, 1: Tissue.NCR, 2: Tissue.ED, 4: Tissue.ET}
"""Until 2022."""
MODERN: LabelScheme = {0: Tissue.BACKGROUND, 1: Tissue.NCR, 2: Tissue.ED, 3: Tissue.ET}
MODERN_RC: LabelScheme = {**MODERN, 4: Tissue.FURTHER}
PED_2024: LabelScheme = {0: Tissue.BACKGROUND, 1: Tissue.ET, 2: Tissue.NCR, 3: Tissue.FURTHER, 4: Tissue.ED}
"""The meanings of 1, 3 and 4 turned round between PED 2023 and PED 2024."""
MSD: LabelScheme = {0: Tissue.BACKGROUND, 1: Tissue.ED, 2: Tissue.NCR, 3: Tissue.ET}
"""The values of BraTS 2023, with 1 and 2 exchanged."""
NNUNET: LabelScheme = {int(tissue): tissue for tissue in Tissue}
