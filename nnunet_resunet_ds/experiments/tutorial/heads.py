"""Draw what each deep-supervision head says of one case."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nnunet_resunet_ds.experiments.tutorial.demo_folder import DemoFolder, Shown
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.inference.preprocessing import preprocess

Volume = NDArray[np.float32]
"""(Z, Y, X)."""

SPACING = (1.0, 1.0, 1.0)
"""Of phantoms, in mm."""


def heads_picture(demo: DemoFolder) -> Figure:
    """Draw FLAIR and the probability of whole tumour by each head, in the slice of a patch with most tumour."""
    flair, heads = head_probabilities(demo, demo.most_tumour)
    z = int(heads[0].sum(axis=(1, 2)).argmax())
    figure = Figure(figsize=(10, 3), layout="constrained")
    first, *panels = figure.subplots(1, 1 + len(heads))
    first.imshow(flair[z], cmap="gray")
    first.set(title="FLAIR, one patch", xticks=[], yticks=[])
    for number, (axes, head) in enumerate(zip(panels, heads, strict=True), start=1):
        drawn = axes.imshow(head[z * head.shape[0] // heads[0].shape[0]], cmap="magma", vmin=0, vmax=1)
        axes.set(title=f"head {number}: " + " × ".join(map(str, head.shape)), xticks=[], yticks=[])
    figure.colorbar(drawn, ax=panels, label="probability", shrink=0.8)
    return figure


@torch.inference_mode()
def head_probabilities(demo: DemoFolder, case: Shown) -> tuple[Volume, list[Volume]]:
    """Return FLAIR and the probability of whole tumour by each head, the finest first, in a patch around the tumour."""
    model = load_model(demo.workflow.model_folder)
    network: Any = model.build_network()  # a ResUNetDS, whose decoder has this switch
    (weights,) = model.weights.values()
    network.load_state_dict(dict(weights))
    network.decoder.deep_supervision = True
    images = np.stack(list(case.images.values())).astype(np.float32)
    patch = _patch(preprocess(model, images, SPACING).data, _centre(case), model.patch_size)
    flair = patch[list(case.images).index("FLAIR")].numpy()
    return flair, [torch.sigmoid(logits)[0, 0].float().numpy() for logits in network(patch[None])]


def _centre(case: Shown) -> NDArray[np.floating]:
    """Return the middle of the tumour on the voxels of the brain's box, to which preprocessing crops."""
    brain = np.any([image != 0 for image in case.images.values()], axis=0)
    corner = np.argwhere(brain).min(axis=0)
    middle: NDArray[np.floating] = np.argwhere(case.truth).mean(axis=0) - corner
    return middle


def _patch(data: torch.Tensor, centre: NDArray[np.floating], size: tuple[int, ...]) -> torch.Tensor:
    """Cut a patch (C, Z, Y, X) around a voxel, inside the image where that is large enough, else padded with zeros."""
    for axis, (middle, length) in enumerate(zip(centre, size, strict=True), start=1):
        start = max(min(int(middle) - length // 2, data.shape[axis] - length), 0)
        data = data.narrow(axis, start, min(length, data.shape[axis]))
    missing = [length - there for length, there in zip(size, data.shape[1:], strict=True)]
    return torch.nn.functional.pad(data, [0, missing[2], 0, missing[1], 0, missing[0]])
