"""Triton kernels of the network's forward and backward pass on channels-last tensors.

A tensor (B, C, Z, Y, X) that is channels last lies in memory as a matrix a sample: one row a voxel, one column a
channel. A program of a kernel takes some rows and some columns of one sample. Sums are kept in ``ACC``: fp32, or fp64
for fp64 tensors. Arguments have no types: Triton takes pointers for tensors, and compiles for what it is called with.
Under ``TRITON_INTERPRET=1`` Triton runs the same code on a CPU, which is how it is tested.
"""

import triton
import triton.language as tl


@triton.jit
def _place(n_rows, n_columns, first_row, BR: tl.constexpr, BC: tl.constexpr):
    """Return columns (BC), offsets (BR, BC) in the matrix of this program's sample, and which of them exist."""
    rows = first_row + tl.arange(0, BR)
    columns = tl.program_id(1) * BC + tl.arange(0, BC)
    exists = (rows[:, None] < n_rows) & (columns[None, :] < n_columns)
    start = tl.program_id(2).to(tl.int64) * n_rows * n_columns
    return columns, start + rows[:, None].to(tl.int64) * n_columns + columns[None, :], exists


@triton.jit
def _joined(count, mean, m2, other_count, other_mean, other_m2):
    """Join count, mean and squared deviations of two sets (Chan et al. 1979)."""
    total = count + other_count
    share = other_count / tl.maximum(total, 1)
    distance = other_mean - mean
    return total, mean + distance * share, m2 + other_m2 + distance * distance * count * share


@triton.jit(do_not_specialize=["n_groups", "n_voxels", "rows_a_program"])
def moments_of_parts(
    x,
    means,
    m2s,
    n_voxels,
    n_groups,
    rows_a_program,
    GROUP: tl.constexpr,
    ACC: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
):
    """Write mean and squared deviations (B, parts, C) of each part of the voxels; part p is of program (p, ·, ·)."""
    n_channels = n_groups * GROUP
    first = tl.program_id(0) * rows_a_program
    count = tl.zeros((1,), ACC)
    mean = tl.zeros((BC,), ACC)
    m2 = tl.zeros((BC,), ACC)
    for row in range(first, tl.minimum(first + rows_a_program, n_voxels), BR):
        _, offsets, exists = _place(n_voxels, n_channels, row, BR, BC)
        values = tl.load(x + offsets, mask=exists, other=0.0).to(ACC)
        n = tl.minimum(n_voxels - row, BR).to(ACC)
        of_block = tl.sum(values, 0) / n
        deviations = tl.where(exists, values - of_block[None, :], 0.0)
        count, mean, m2 = _joined(count, mean, m2, n, of_block, tl.sum(deviations * deviations, 0))
    columns = tl.program_id(1) * BC + tl.arange(0, BC)
    target = (tl.program_id(2) * tl.num_programs(0) + tl.program_id(0)) * n_channels + columns
    tl.store(means + target, mean, mask=columns < n_channels)
    tl.store(m2s + target, m2, mask=columns < n_channels)


@triton.jit(do_not_specialize=["n_groups", "n_voxels", "rows_a_program", "n_parts"])
def moments_of_image(
    means,
    m2s,
    mean_out,
    scale_out,
    eps,
    n_voxels,
    n_groups,
    rows_a_program,
    n_parts,
    GROUP: tl.constexpr,
    ACC: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
):
    """Write mean and one over the standard deviation (B, C) from the parts."""
    n_channels = n_groups * GROUP
    count = tl.zeros((1,), ACC)
    mean = tl.zeros((BC,), ACC)
    m2 = tl.zeros((BC,), ACC)
    for part in range(0, n_parts, BR):
        columns, offsets, exists = _place(n_parts, n_channels, part, BR, BC)
        first = (part + tl.arange(0, BR)) * rows_a_program
        counts = tl.maximum(tl.minimum(n_voxels - first, rows_a_program), 0).to(ACC)
        n = tl.sum(counts, 0)
        part_means = tl.load(means + offsets, mask=exists, other=0.0)
        of_block = tl.sum(part_means * counts[:, None], 0) / n
        deviations = part_means - of_block[None, :]
        squares = tl.load(m2s + offsets, mask=exists, other=0.0) + deviations * deviations * counts[:, None]
        count, mean, m2 = _joined(count, mean, m2, n, of_block, tl.sum(squares, 0))
    columns = tl.program_id(1) * BC + tl.arange(0, BC)
    target = tl.program_id(2) * n_channels + columns
    tl.store(mean_out + target, mean, mask=columns < n_channels)
    tl.store(scale_out + target, 1 / tl.sqrt(m2 / n_voxels + eps), mask=columns < n_channels)


@triton.jit(do_not_specialize=["n_groups", "n_voxels"])
def normalise(
    x,
    residual,
    out,
    mean,
    scale,
    weight,
    bias,
    n_voxels,
    n_groups,
    slope,
    ADDS: tl.constexpr,
    ACTIVATES: tl.constexpr,
    GROUP: tl.constexpr,
    ACC: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
):
    """Write leaky_relu(weight · (x − mean) · scale + bias + residual), residual and activation where asked."""
    n_channels = n_groups * GROUP
    columns, offsets, exists = _place(n_voxels, n_channels, tl.program_id(0) * BR, BR, BC)
    inside = columns < n_channels
    moment = tl.program_id(2) * n_channels + columns
    factor = tl.load(weight + columns, mask=inside, other=0.0).to(ACC) * tl.load(scale + moment, mask=inside, other=0.0)
    centre = tl.load(mean + moment, mask=inside, other=0.0)
    shift = tl.load(bias + columns, mask=inside, other=0.0).to(ACC)
    values = tl.load(x + offsets, mask=exists, other=0.0).to(ACC)
    values = (values - centre[None, :]) * factor[None, :] + shift[None, :]
    if ADDS:
        values += tl.load(residual + offsets, mask=exists, other=0.0).to(ACC)
    if ACTIVATES:
        values = tl.where(values > 0, values, values * slope)
    tl.store(out + offsets, values.to(out.dtype.element_ty), mask=exists)


@triton.jit
def _gradient_before_activation(gradient, out, offsets, exists, slope, ACTIVATES: tl.constexpr, ACC: tl.constexpr):
    """Return the gradient of what the activation got; its sign is that of what it gave."""
    values = tl.load(gradient + offsets, mask=exists, other=0.0).to(ACC)
    if ACTIVATES:
        positive = tl.load(out + offsets, mask=exists, other=0.0) > 0
        values = tl.where(positive, values, values * slope)
    return values


@triton.jit(do_not_specialize=["n_groups", "n_voxels", "rows_a_program"])
def gradient_sums_of_parts(
    gradient,
    out,
    x,
    mean,
    scale,
    sums,
    products,
    n_voxels,
    n_groups,
    rows_a_program,
    slope,
    ACTIVATES: tl.constexpr,
    GROUP: tl.constexpr,
    ACC: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
):
    """Write the sums of g and of g·x̂ (B, parts, C) of each part of the voxels, where x̂ is x before weight and bias."""
    n_channels = n_groups * GROUP
    first = tl.program_id(0) * rows_a_program
    columns = tl.program_id(1) * BC + tl.arange(0, BC)
    inside = columns < n_channels
    moment = tl.program_id(2) * n_channels + columns
    centre = tl.load(mean + moment, mask=inside, other=0.0)
    factor = tl.load(scale + moment, mask=inside, other=0.0)
    total = tl.zeros((BC,), ACC)
    product = tl.zeros((BC,), ACC)
    for row in range(first, tl.minimum(first + rows_a_program, n_voxels), BR):
        _, offsets, exists = _place(n_voxels, n_channels, row, BR, BC)
        g = _gradient_before_activation(gradient, out, offsets, exists, slope, ACTIVATES, ACC)
        normalised = (tl.load(x + offsets, mask=exists, other=0.0).to(ACC) - centre[None, :]) * factor[None, :]
        total += tl.sum(g, 0)
        product += tl.sum(g * normalised, 0)  # g is 0 where there is no voxel
    target = (tl.program_id(2) * tl.num_programs(0) + tl.program_id(0)) * n_channels + columns
    tl.store(sums + target, total, mask=inside)
    tl.store(products + target, product, mask=inside)


@triton.jit(do_not_specialize=["n_groups", "n_voxels"])
def gradient_of_input(
    gradient,
    out,
    x,
    mean,
    scale,
    weight,
    sums,
    products,
    of_x,
    of_residual,
    n_voxels,
    n_groups,
    slope,
    ADDS: tl.constexpr,
    ACTIVATES: tl.constexpr,
    GROUP: tl.constexpr,
    ACC: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
):
    """Write w·s·(g − Σg/n − x̂·Σg·x̂/n) with s the scale and n voxels, and the gradient of the residual, which is g."""
    n_channels = n_groups * GROUP
    columns, offsets, exists = _place(n_voxels, n_channels, tl.program_id(0) * BR, BR, BC)
    inside = columns < n_channels
    moment = tl.program_id(2) * n_channels + columns
    factor = tl.load(scale + moment, mask=inside, other=0.0)
    centre = tl.load(mean + moment, mask=inside, other=0.0)
    mean_g = tl.load(sums + moment, mask=inside, other=0.0) / n_voxels
    mean_product = tl.load(products + moment, mask=inside, other=0.0) / n_voxels
    w = tl.load(weight + columns, mask=inside, other=0.0).to(ACC)
    g = _gradient_before_activation(gradient, out, offsets, exists, slope, ACTIVATES, ACC)
    if ADDS:
        tl.store(of_residual + offsets, g.to(of_residual.dtype.element_ty), mask=exists)
    normalised = (tl.load(x + offsets, mask=exists, other=0.0).to(ACC) - centre[None, :]) * factor[None, :]
    values = (g - mean_g[None, :] - normalised * mean_product[None, :]) * (w * factor)[None, :]
    tl.store(of_x + offsets, values.to(of_x.dtype.element_ty), mask=exists)


@triton.jit(do_not_specialize=["n_groups", "depth", "height", "width", "in_height", "in_width", "n_in"])
def average_windows(
    x,
    out,
    n_groups,
    depth,
    height,
    width,
    in_height,
    in_width,
    n_in,
    WZ: tl.constexpr,
    WY: tl.constexpr,
    WX: tl.constexpr,
    GROUP: tl.constexpr,
    ACC: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
):
    """Write the mean over each window of (WZ, WY, WX) voxels; depth, height and width are those of the result."""
    n_channels = n_groups * GROUP
    columns, offsets, exists = _place(depth * height * width, n_channels, tl.program_id(0) * BR, BR, BC)
    rows = tl.program_id(0) * BR + tl.arange(0, BR)
    corner = (rows // (height * width) * WZ * in_height + rows // width % height * WY) * in_width + rows % width * WX
    start = tl.program_id(2).to(tl.int64) * n_in
    total = tl.zeros((BR, BC), ACC)
    for z in tl.static_range(WZ):
        for y in tl.static_range(WY):
            for x_step in tl.static_range(WX):
                voxels = start + corner + (z * in_height + y) * in_width + x_step
                source = voxels[:, None] * n_channels + columns[None, :]
                total += tl.load(x + source, mask=exists, other=0.0).to(ACC)
    tl.store(out + offsets, (total / (WZ * WY * WX)).to(out.dtype.element_ty), mask=exists)


@triton.jit(do_not_specialize=["n_groups", "depth", "height", "width", "in_height", "in_width", "n_in"])
def spread_over_windows(
    gradient,
    of_x,
    n_groups,
    depth,
    height,
    width,
    in_height,
    in_width,
    n_in,
    WZ: tl.constexpr,
    WY: tl.constexpr,
    WX: tl.constexpr,
    GROUP: tl.constexpr,
    ACC: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
):
    """Write the gradient of `average_windows`: a share of its window's to each voxel, 0 where there is no window."""
    n_channels = n_groups * GROUP
    columns, offsets, exists = _place(n_in, n_channels, tl.program_id(0) * BR, BR, BC)
    rows = tl.program_id(0) * BR + tl.arange(0, BR)
    z, y, x = rows // (in_height * in_width) // WZ, rows // in_width % in_height // WY, rows % in_width // WX
    has_window = (z < depth) & (y < height) & (x < width)
    window = tl.program_id(2).to(tl.int64) * depth * height * width + (z * height + y) * width + x
    source = window[:, None] * n_channels + columns[None, :]
    values = tl.load(gradient + source, mask=exists & has_window[:, None], other=0.0).to(ACC) / (WZ * WY * WX)
    tl.store(of_x + offsets, values.to(of_x.dtype.element_ty), mask=exists)


@triton.jit
def _columns(first_block, n_columns, rows, n_voxels, BC: tl.constexpr):
    """Return the columns (BC) of this program from a first block on, and which voxels of them exist (BR, BC)."""
    columns = (tl.program_id(1) - first_block) * BC + tl.arange(0, BC)
    return columns, (rows[:, None] < n_voxels) & (columns[None, :] < n_columns)


@triton.jit
def _in_products(rows, columns, n_voxels, n_up, height, width, KZ: tl.constexpr, KY: tl.constexpr, KX: tl.constexpr):
    """Return where voxels of the finer grid lie in the products (coarse voxels, KZ·KY·KX·channels) of this sample."""
    z, y, x = rows // (height * width), rows // width % height, rows % width
    coarse = (z // KZ * (height // KY) + y // KY) * (width // KX) + x // KX
    within = (z % KZ * KY + y % KY) * KX + x % KX
    place = (tl.program_id(2).to(tl.int64) * (n_voxels // (KZ * KY * KX)) + coarse) * (KZ * KY * KX) + within
    return place[:, None] * n_up + columns[None, :]


@triton.jit(do_not_specialize=["n_voxels", "n_up_groups", "n_skip_groups", "height", "width"])
def join(
    products,
    bias,
    skip,
    out,
    n_voxels,
    n_up_groups,
    n_skip_groups,
    height,
    width,
    KZ: tl.constexpr,
    KY: tl.constexpr,
    KX: tl.constexpr,
    GROUP: tl.constexpr,
    ACC: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
):
    """Write (upsampled, skip) with the channels of both, voxel by voxel of the finer grid."""
    n_up, n_skip = n_up_groups * GROUP, n_skip_groups * GROUP
    n_blocks_up = tl.cdiv(n_up, BC)
    rows = tl.program_id(0) * BR + tl.arange(0, BR)
    voxels = (tl.program_id(2).to(tl.int64) * n_voxels + rows)[:, None]
    if tl.program_id(1) < n_blocks_up:
        columns, exists = _columns(0, n_up, rows, n_voxels, BC)
        source = _in_products(rows, columns, n_voxels, n_up, height, width, KZ, KY, KX)
        shift = tl.load(bias + columns, mask=columns < n_up, other=0.0).to(ACC)
        upsampled = tl.load(products + source, mask=exists, other=0.0).to(ACC) + shift[None, :]
        tl.store(out + voxels * (n_up + n_skip) + columns[None, :], upsampled.to(out.dtype.element_ty), mask=exists)
    else:
        columns, exists = _columns(n_blocks_up, n_skip, rows, n_voxels, BC)
        values = tl.load(skip + voxels * n_skip + columns[None, :], mask=exists, other=0.0)
        target = voxels * (n_up + n_skip) + n_up + columns[None, :]
        tl.store(out + target, values.to(out.dtype.element_ty), mask=exists)


@triton.jit(do_not_specialize=["n_voxels", "n_up_groups", "n_skip_groups", "height", "width"])
def part(
    gradient,
    of_products,
    of_skip,
    n_voxels,
    n_up_groups,
    n_skip_groups,
    height,
    width,
    KZ: tl.constexpr,
    KY: tl.constexpr,
    KX: tl.constexpr,
    GROUP: tl.constexpr,
    BR: tl.constexpr,
    BC: tl.constexpr,
):
    """Write the gradients of what `join` joins."""
    n_up, n_skip = n_up_groups * GROUP, n_skip_groups * GROUP
    n_blocks_up = tl.cdiv(n_up, BC)
    rows = tl.program_id(0) * BR + tl.arange(0, BR)
    voxels = (tl.program_id(2).to(tl.int64) * n_voxels + rows)[:, None]
    if tl.program_id(1) < n_blocks_up:
        columns, exists = _columns(0, n_up, rows, n_voxels, BC)
        target = _in_products(rows, columns, n_voxels, n_up, height, width, KZ, KY, KX)
        values = tl.load(gradient + voxels * (n_up + n_skip) + columns[None, :], mask=exists, other=0.0)
        tl.store(of_products + target, values.to(of_products.dtype.element_ty), mask=exists)
    else:
        columns, exists = _columns(n_blocks_up, n_skip, rows, n_voxels, BC)
        source = voxels * (n_up + n_skip) + n_up + columns[None, :]
        values = tl.load(gradient + source, mask=exists, other=0.0)
        tl.store(of_skip + voxels * n_skip + columns[None, :], values.to(of_skip.dtype.element_ty), mask=exists)
