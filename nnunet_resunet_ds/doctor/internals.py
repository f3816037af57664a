"""Whether the installed nnU-Net has what we rely on inside it."""

from nnunet_resunet_ds.doctor.finding import FAIL, OK, Finding
from nnunet_resunet_ds.nnunet_internals import RELIED_ON, changed_internals


def internals() -> Finding:
    """Compare signatures."""
    changes = changed_internals()
    if changes:
        remedy = "install the nnunetv2 that pip chooses with this package, in a fresh environment"
        return Finding(FAIL, "nnU-Net", "; ".join(changes), remedy)
    return Finding(OK, "nnU-Net", f"all {len(RELIED_ON)} functions that we rely on are as they were")
