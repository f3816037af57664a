"""Describe what another runtime has to do around the bare network: before it, with it, and after it."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from dataset_conversion.label_conventions import nnunet_convention
from nnunet_resunet_ds.base.reader_space import TURNED_TO, TURNING_READERS
from nnunet_resunet_ds.base.regions import Tissue
from nnunet_resunet_ds.compute.environment import versions
from nnunet_resunet_ds.export.onnx_graph import BATCH, INPUT, OPSET, OUTPUT
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.inference.sliding_window import PEAK, SIGMA, TILE_STEP
from nnunet_resunet_ds.network.res_unet_ds import SALIENT_ABOVE
from postprocessing import PostprocessingConfig
from postprocessing.config import PROBABILITIES

MADE_BY = "resunet-ds export"
_AXES = ("z", "y", "x")


def description_of(model: Model, config: PostprocessingConfig, files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what stands in the JSON file next to the ONNX files.

    Args:
        model: that was exported.
        config: its thresholds and steps.
        files: an entry for each ONNX file.
    """
    return {
        "made_by": MADE_BY,
        "versions": {**versions(), "onnxruntime": version("onnxruntime"), "opset": str(OPSET)},
        "model": {"name": model.folder.name, "trainer": model.trainer_name, "checkpoint": model.checkpoint},
        "files": list(files),
        "input": {
            "name": INPUT,
            "type": "float32",
            "axes": [BATCH, "channel", *_AXES],
            "shape": [BATCH, len(model.channels), *model.patch_size],
            "channels": list(model.channels),
        },
        "output": {
            "name": OUTPUT,
            "type": "float32",
            "axes": [BATCH, "region", *_AXES],
            "shape": [BATCH, model.n_regions, *model.patch_size],
            "values": "logits; a sigmoid of each makes its probability",
            "regions": _regions(model, config),
        },
        "at_threshold": "inside" if config.tumour_regions and config.nested else "outside",
        "labels": _labels(model),
        "preprocessing": _preprocessing(model),
        "inference": {
            "patch_size": list(model.patch_size),
            "tile_step": TILE_STEP,
            "tile_weights": {"form": "Gaussian", "sigma_in_patch_sizes": SIGMA, "peak": PEAK},
            "mirror_axes": list(model.mirror_axes),
            "average": PROBABILITIES,
            "average_over": ["flips", "tiles", "folds"],
        },
        "postprocessing": config.to_mapping(),
    }


def _regions(model: Model, config: PostprocessingConfig) -> list[dict[str, Any]]:
    """Return each output: its name, the label values of the region, the label that it paints, and its threshold."""
    further = [region.threshold for region in config.further]
    thresholds = [config.wt, config.tc, config.et, *further] if config.tumour_regions else further
    painted = model.dataset_json["regions_class_order"]
    names = config.region_names
    return [
        {"name": name, "labels": list(map(int, region.tissues)), "paints": int(label), "threshold": threshold}
        for name, region, label, threshold in zip(names, model.regions, painted, thresholds, strict=False)
    ]


def _labels(model: Model) -> dict[str, str]:
    """Return the name of each value of a label map: of its tissue, or of the region where a tissue has no own name."""
    tissues = {int(tissue): tissue for tissue in nnunet_convention(model.dataset_json).tissues.values()}
    names = {}
    for region, value in zip(model.regions, model.dataset_json["regions_class_order"], strict=True):
        tissue = tissues.get(value)
        names[int(value)] = region.name if tissue is None or tissue == Tissue.FURTHER else tissue.name
    return {"0": "background", **{str(value): names[value] for value in sorted(names)}}


def _preprocessing(model: Model) -> dict[str, Any]:
    """Return what is done before the network, in this order; see docs/how_to/export.md."""
    configuration, plans = model.configuration, model.plans
    schemes = zip(model.channels, configuration.normalization_schemes, configuration.use_mask_for_norm, strict=True)
    intensities = plans.foreground_intensity_properties_per_channel
    entries = configuration.configuration
    return {
        "reader": model.reader,
        "reorient_to": TURNED_TO if model.reader in TURNING_READERS else None,
        "transpose_forward": list(plans.transpose_forward),
        "transpose_backward": list(plans.transpose_backward),
        "crop_to_nonzero": True,
        "normalisation": [
            {
                "channel": name,
                "scheme": scheme,
                "inside_nonzero_only": bool(masked),
                "training_intensities": intensities.get(str(number), {}),
            }
            for number, (name, scheme, masked) in enumerate(schemes)
        ],
        "spacing_mm": list(map(float, configuration.spacing)),
        "spacing_axes": "those of the network, which are those of the image after transpose_forward",
        "resampling": {name: entries[name] for name in sorted(entries) if name.startswith("resampling_fn_")},
        "background_zero_after_resampling": model.has_salient_channel,
        "preprocessor": entries.get("preprocessor_name"),
        "salient_channel": {"inside_the_graph": model.has_salient_channel, "any_channel_above": SALIENT_ABOVE},
    }
