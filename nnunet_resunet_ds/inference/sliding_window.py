"""Run a network over a volume: tile by tile, flip by flip, and average what it says (decision D8)."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import combinations, product

import numpy as np
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from nnunet_resunet_ds.base.errors import first_line, is_out_of_memory
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.compute import AUTO
from nnunet_resunet_ds.compute.format_choice import InputSize, prediction_dtype
from nnunet_resunet_ds.compute.precision import autocast, compile_is_wished, use_dtype
from nnunet_resunet_ds.compute.transfer import Advance, Progress, to_host
from nnunet_resunet_ds.inference.averages import FoldStatistics, Tile, WeightedMean
from postprocessing.config import PROBABILITIES

OVERLAPPING, WHOLE = TILES = ("overlapping", "whole")
"""Half-overlapping patches, or one evaluation of the whole padded volume."""
TILE_STEP = 0.5
"""Between tiles, in patch sizes: half overlap, as in nnU-Net."""
_NO_ENGINE = "unable to find an engine"
LEAST_TILE_STEP = 0.05
"""A smaller one takes thousands of times as long, and is a slip."""
PEAK = 10
"""Largest weight; nnU-Net's."""
SIGMA = 1 / 8
"""Of the Gaussian that weighs a tile's voxels, in patch sizes; nnU-Net's."""


class SlidingWindow:
    """A network's view of whole volumes.

    Args:
        forward: the network.
        n_regions: its outputs.
        patch_size: of a tile.
        flips: axes of (C, Z, Y, X) of each flip.
        average: one of `AVERAGES`.
        strides: of the network's stages, to look at the whole padded volume at once; None for tiles.
        tile_step: between tiles, in patch sizes, at most.
        with_variance: whether `mean_over_folds` returns the variance over flips and folds, too; of probabilities only.
    """

    def __init__(
        self,
        forward: "ForwardPass",
        n_regions: int,
        patch_size: Sequence[int],
        flips: Sequence[tuple[int, ...]],
        average: str = PROBABILITIES,
        strides: Sequence[Sequence[int]] | None = None,
        tile_step: float = TILE_STEP,
        *,
        with_variance: bool = False,
    ) -> None:
        self._forward = forward
        self._n_regions = n_regions
        self._patch_size = patch_size
        self._flips = flips
        self._averages = average
        self._strides = strides
        self._tile_step = tile_step
        self._with_variance = with_variance
        self._averages_on = forward.device

    def n_forward_passes(self, shape: Sequence[int]) -> int:
        """Return how often one volume (Z, Y, X) sends an input through the network."""
        return len(self._tiles(padded_shape(shape, self._patch_size, self._strides))) * len(self._flips)

    @property
    def dtype(self) -> torch.dtype | None:
        """What convolutions compute in; None is fp32."""
        return self._forward.dtype

    def mean_over_folds(self, weights: Sequence[Mapping[str, Tensor]], volume: Tensor, advance: Advance) -> Tensor:
        """Return averaged outputs (R, Z, Y, X), on the CPU, for a preprocessed volume (C, Z, Y, X).

        Args:
            weights: the state dict of each fold, at least one.
            volume: what the network sees.
            advance: called with the number of forward passes that are done.

        Returns:
            With variance (2R, Z, Y, X): averages, then the variance over flips, of which this is the mean over tiles
            and folds; of several folds (3R, Z, Y, X), the variance over these last.

        Raises:
            torch.OutOfMemoryError: not even one tile fits on the device.
        """
        padded, inside = self._padded(volume)
        statistics = FoldStatistics(self._n_regions if self._with_variance else 0)
        for of_fold in weights:
            self._forward.load(of_fold)
            statistics.add(self._average(padded, advance))
        return to_host(statistics.result()[inside])

    def _padded(self, volume: Tensor) -> tuple[Tensor, Tile]:
        """Return a volume padded, on the device where it fits there, and where in it the regions (R, Z, Y, X) lie."""
        shape = padded_shape(volume.shape[1:], self._patch_size, self._strides)
        device = self._forward.device
        with suppress(torch.OutOfMemoryError):
            return _pad(volume.to(device, non_blocking=device.type == "cuda"), shape)
        return _pad(volume, shape)  # and its tiles are sent one by one

    def _average(self, padded: Tensor, advance: Advance) -> Tensor:
        """Return what `_over_flips` does, averaged over tiles, for a padded volume (C, Z, Y, X), where it is kept.

        On a GPU, nothing in the loop waits for a result.
        """
        places = self._tiles(padded.shape[1:])
        result = self._empty_result(padded.shape[1:])
        weights = self._weights(places)
        progress = Progress(advance, self._forward.device)
        for place in places:
            self._add(result, place, padded[(slice(None), *place)], weights)
            progress.given(len(self._flips))
        progress.finish()
        return result.mean()

    def _weights(self, places: Sequence[Tile]) -> Tensor:
        """Return the weight of each voxel of a tile; one for all where there is one tile, and nothing to weigh."""
        if len(places) == 1:
            return torch.ones((), device=self._forward.device)
        return gaussian([place.stop - place.start for place in places[0]], self._forward.device)

    def _tiles(self, shape: Sequence[int]) -> list[Tile]:
        return tiles(shape, shape if self._strides else self._patch_size, self._tile_step)

    def _empty_result(self, shape: Sequence[int]) -> "WeightedMean":
        n_values = self._n_regions * (2 if self._with_variance else 1)
        with suppress(torch.OutOfMemoryError):
            return WeightedMean(n_values, shape, self._averages_on)
        self._keep_averages_on_cpu()
        return WeightedMean(n_values, shape, self._averages_on)

    def _add(self, result: "WeightedMean", place: Tile, tile: Tensor, weights: Tensor) -> None:
        if result.device.type != "cpu":
            with suppress(torch.OutOfMemoryError):
                result.add(place, self._over_flips(tile), weights)
                return
            # out of the block, so that what has failed is forgotten and its memory can be given back
            result.to_cpu()
            torch.cuda.empty_cache()
            self._keep_averages_on_cpu()
        result.add(place, self._over_flips(tile), weights)

    def _over_flips(self, tile: Tensor) -> Tensor:
        """Return the mean over flips (R, Z, Y, X) for one tile (C, Z, Y, X), on the device, where it is flipped.

        With variance (2R, Z, Y, X): the mean, then the variance over flips. Probabilities are near 1 at most, so that
        their squares can be added up in fp32: the variance is within 1e-6.
        """
        tile = tile.to(self._forward.device)
        total = torch.zeros((self._n_regions, *tile.shape[1:]), device=self._forward.device)
        squares = torch.zeros_like(total) if self._with_variance else None
        remaining = self._flips
        while remaining:
            chunk, remaining = remaining[: self._forward.batch_size], remaining[self._forward.batch_size :]
            outputs = self._forward(torch.stack([tile.flip(axes) for axes in chunk]))
            if self._averages == PROBABILITIES:
                outputs.sigmoid_()
            for output, axes in zip(outputs, chunk, strict=True):
                turned_back = output.flip(axes)
                total += turned_back
                if squares is not None:
                    squares.addcmul_(turned_back, turned_back)
        mean = total.div_(len(self._flips))
        if squares is None:
            return mean
        return torch.cat([mean, squares.div_(len(self._flips)).addcmul_(mean, mean, value=-1).clamp_(min=0)])

    def _keep_averages_on_cpu(self) -> None:
        self._averages_on = torch.device("cpu")
        LOG.warning("out of memory on %s: averages are kept on the CPU", self._forward.device)


def _pad(volume: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tile]:
    padded, inside = pad_nd_image(volume, shape, "constant", {"value": 0}, return_slicer=True)
    return padded, (slice(None), *inside[1:])


def padded_shape(shape: Sequence[int], patch_size: Sequence[int], strides: Sequence[Sequence[int]] | None) -> list[int]:
    """Return the shape that a volume is padded to.

    Args:
        shape: of the volume (Z, Y, X).
        patch_size: no axis may be shorter than this.
        strides: of each stage of the network, to see the volume at once: each axis becomes a multiple of their
            product; None for tiles.
    """
    if strides is None:
        return [max(axis, patch) for axis, patch in zip(shape, patch_size, strict=True)]
    totals = np.prod(np.asarray(strides), axis=0).tolist()
    return [max(-(-axis // total) * total, patch) for axis, total, patch in zip(shape, totals, patch_size, strict=True)]


def tiles(shape: Sequence[int], patch_size: Sequence[int], step: float = TILE_STEP) -> list[Tile]:
    """Return the tiles of a padded volume: nnU-Net's, in its order.

    Args:
        shape: of the volume (Z, Y, X), no axis shorter than the patch.
        patch_size: of a tile.
        step: between tiles, in patch sizes, at most: they are spread evenly.
    """
    steps = compute_steps_for_sliding_window(tuple(shape), tuple(patch_size), step)
    return [
        tuple(slice(start, start + size) for start, size in zip(starts, patch_size, strict=True))
        for starts in product(*steps)
    ]


def gaussian(patch_size: Sequence[int], device: torch.device) -> Tensor:
    """Return the weight of each voxel of a tile (Z, Y, X), fp32.

    Rounded to fp16 as nnU-Net's are: far corners, whose weights vanish in it, then count alike in every tile.
    """
    weights: Tensor = compute_gaussian(tuple(patch_size), SIGMA, PEAK, torch.float16, device)
    return weights.float()


def flips(mirror_axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the axes of each flip of (C, Z, Y, X), the identity first: eight for three mirror axes.

    Args:
        mirror_axes: of (Z, Y, X).
    """
    axes = [axis + 1 for axis in mirror_axes]
    return [chosen for n in range(len(axes) + 1) for chosen in combinations(axes, n)]


class ForwardPass:
    """A network on a device, that takes as many inputs at once as fit.

    The weights of its convolutions are converted to the number format where its layers can compute so, which the first
    inputs show; else autocast does it in each pass; and where that fails, too, the network stays in fp32.

    Args:
        network: with any weights; it is changed in place.
        device: where to run it.
        precision: see `nnunet_resunet_ds.compute.format_choice`.
        tile: size of one input, to find what ``"auto"`` is on a CPU; without it, fp32.
        batch_size: inputs at once, to begin with; halved where memory runs out.
        may_compile: whether inputs have one shape; compiled is then where ``nnUNet_compile`` asks for it.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        precision: str = AUTO,
        *,
        tile: InputSize | None = None,
        batch_size: int = 1,
        may_compile: bool = True,
    ) -> None:
        self.device = device
        self.batch_size = batch_size
        self._weights: Mapping[str, Tensor] | None = None
        self._on_device: list[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]] = []
        """Weights of folds, and the same converted on a GPU: each case takes all folds in turn."""
        self._network = network.to(device).eval()
        self.dtype, line = prediction_dtype(precision, network, device, tile)
        self._is_converted = use_dtype(network, self.dtype)
        self._has_run = False
        compiles = may_compile and compile_is_wished()
        LOG.debug("network on %s%s. %s", device, ", compiled" if compiles else "", line)
        self._compiled: Callable[[Tensor], Tensor] | None = torch.compile(network, dynamic=False) if compiles else None

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of another fold; those that it has already are not copied again."""
        if weights is not self._weights:
            self._network.load_state_dict(self._converted(weights))
            self._weights = weights

    def _converted(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return weights on the GPU in the formats of the network; elsewhere as they are."""
        if self.device.type != "cuda":
            return weights
        for known, converted in self._on_device:
            if known is weights:
                return converted
        own = self._network.state_dict()
        converted = {name: values.to(self.device, own[name].dtype) for name, values in weights.items()}
        self._on_device.append((weights, converted))
        return converted

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return fp32 logits (B, R, Z, Y, X) of inputs (B, C, Z, Y, X), on the device.

        Raises:
            torch.OutOfMemoryError: not even one input fits.
        """
        while True:
            try:
                outputs = [self._run(chunk) for chunk in torch.split(inputs, self.batch_size)]
                return outputs[0] if len(outputs) == 1 else torch.cat(outputs)
            except torch.OutOfMemoryError:
                if self.batch_size == 1:
                    raise
                self.batch_size //= 2
            self._on_device.clear()
            torch.cuda.empty_cache()
            LOG.warning("out of memory on %s: going on with %d at a time", self.device, self.batch_size)

    def _run(self, inputs: Tensor) -> Tensor:
        """Return fp32 logits of inputs that fit; the first ones show in which form the network can compute."""
        while not self._has_run:
            try:
                outputs = self._compute(inputs)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                if self.dtype is None:
                    raise
                self._take_plainer_form(error)
            else:
                self._has_run = True
                return outputs
        return self._compute(inputs)

    def _take_plainer_form(self, error: RuntimeError) -> None:
        """Go from converted weights to autocast, and from there to fp32."""
        if not self._is_converted:
            LOG.warning("no %s on %s (%s): going on in fp32", self.dtype, self.device, first_line(error))
            self.dtype = None
            return
        LOG.debug("autocast instead of weights in %s: %s", self.dtype, first_line(error))
        self._is_converted = False
        self._on_device.clear()
        with torch.inference_mode(False):  # parameters must not become tensors of inference
            self._network.float()
        if self._weights is not None:
            self._network.load_state_dict(self._weights)  # those that were not rounded

    def _compute(self, inputs: Tensor) -> Tensor:
        dtype = self.dtype if self._is_converted else None
        inputs = inputs.to(self.device, dtype)
        try:
            with autocast(None if self._is_converted else self.dtype, self.device):
                return self._logits(inputs).float()
        except RuntimeError as error:
            if self._ran_out_of_memory(error, len(inputs)):
                raise torch.OutOfMemoryError(str(error)) from error
            raise

    def _ran_out_of_memory(self, error: RuntimeError, n_inputs: int) -> bool:
        """Tell whether an error of another library is one of memory.

        cuDNN has no engine where its workspace does not fit, and where it cannot compute so, which one input shows.
        """
        if isinstance(error, torch.OutOfMemoryError):
            return False
        return is_out_of_memory(error) or (_NO_ENGINE in str(error) and (n_inputs > 1 or self._has_run))

    def _logits(self, inputs: Tensor) -> Tensor:
        if self._compiled is not None:
            try:
                return self._compiled(inputs)
            except TorchDynamoException as error:
                LOG.warning("torch.compile failed and is left out from here on: %s", first_line(error))
                self._compiled = None
        return self._network(inputs)  # type: ignore[no-any-return]
