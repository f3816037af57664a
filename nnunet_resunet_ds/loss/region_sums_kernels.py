"""Triton kernels of the loss: sums over the voxels of each region, and the gradient of the logits."""

import triton
import triton.language as tl


@triton.jit
def _log_sigmoid(x):
    return tl.minimum(x, 0.0) - tl.log(1 + tl.exp(-tl.abs(x)))


@triton.jit
def _load(logits, target, counts, z_sample, z_region, z_voxel, n_regions, n_voxels, voxels, HAS_COUNTS: tl.constexpr):
    """Return logits, targets and what voxels count, of this program's region, with 0 beyond the last voxel."""
    sample, region = tl.program_id(1) // n_regions, tl.program_id(1) % n_regions
    exists = voxels < n_voxels
    place = sample.to(tl.int64) * z_sample + region * z_region + voxels.to(tl.int64) * z_voxel
    z = tl.load(logits + place, mask=exists, other=0.0).to(tl.float32)
    t = tl.load(target + tl.program_id(1).to(tl.int64) * n_voxels + voxels, mask=exists, other=0.0).to(tl.float32)
    counted = exists.to(tl.float32)
    if HAS_COUNTS:
        counted = tl.load(counts + sample.to(tl.int64) * n_voxels + voxels, mask=exists, other=0.0).to(tl.float32)
    return z, t, counted, place, exists


@triton.jit
def _focal_parts(z, t, gamma):
    """Return focus and cross-entropy of each voxel, whose product is the focal loss."""
    cross_entropy = tl.maximum(z, 0.0) - z * t + tl.log(1 + tl.exp(-tl.abs(z)))
    return tl.exp(gamma * _log_sigmoid(-z * (2 * t - 1))), cross_entropy


@triton.jit(do_not_specialize=["n_voxels", "voxels_a_program", "z_sample", "z_region", "z_voxel", "n_regions"])
def sums_of_parts(
    logits, target, counts, sums, gamma, z_sample, z_region, z_voxel, n_regions, n_voxels, voxels_a_program,
    HAS_COUNTS: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """Write the sums (5, B·R, parts) of this program's voxels."""
    first = tl.program_id(0) * voxels_a_program
    both = tl.zeros((BV,), tl.float32)
    predicted = tl.zeros((BV,), tl.float32)
    true = tl.zeros((BV,), tl.float32)
    focal = tl.zeros((BV,), tl.float32)
    n = tl.zeros((BV,), tl.float32)
    for start in range(first, tl.minimum(first + voxels_a_program, n_voxels), BV):
        z, t, counted, _, _ = _load(
            logits,
            target,
            counts,
            z_sample,
            z_region,
            z_voxel,
            n_regions,
            n_voxels,
            start + tl.arange(0, BV),
            HAS_COUNTS,
        )
        focus, cross_entropy = _focal_parts(z, t, gamma)
        p = tl.sigmoid(z) * counted
        both += p * t
        predicted += p
        true += t * counted
        focal += focus * cross_entropy * counted
        n += counted
    step = tl.num_programs(0) * tl.num_programs(1)
    place = sums + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    tl.store(place, tl.sum(both, 0))
    tl.store(place + step, tl.sum(predicted, 0))
    tl.store(place + 2 * step, tl.sum(true, 0))
    tl.store(place + 3 * step, tl.sum(focal, 0))
    tl.store(place + 4 * step, tl.sum(n, 0))


@triton.jit(do_not_specialize=["n_voxels", "z_sample", "z_region", "z_voxel", "n_regions"])
def gradient_of_logits(
    logits, target, counts, of_sums, of_logits, gamma, z_sample, z_region, z_voxel, n_regions, n_voxels,
    HAS_COUNTS: tl.constexpr, BV: tl.constexpr,
):  # fmt: skip
    """Write the gradient of the logits from that of the sums (5, B·R)."""
    z, t, counted, place, exists = _load(
        logits, target, counts, z_sample, z_region, z_voxel, n_regions, n_voxels,
        tl.program_id(0) * BV + tl.arange(0, BV), HAS_COUNTS,
    )  # fmt: skip
    of_both = tl.load(of_sums + tl.program_id(1))
    of_predicted = tl.load(of_sums + tl.num_programs(1) + tl.program_id(1))
    of_focal = tl.load(of_sums + 3 * tl.num_programs(1) + tl.program_id(1))
    p = tl.sigmoid(z)
    side = 2 * t - 1
    focus, cross_entropy = _focal_parts(z, t, gamma)
    of_focal_by_z = focus * (p - t - gamma * side * tl.sigmoid(z * side) * cross_entropy)
    values = ((of_both * t + of_predicted) * p * (1 - p) + of_focal * of_focal_by_z) * counted
    tl.store(of_logits + place, values.to(of_logits.dtype.element_ty), mask=exists)
