"""The network on a GPU: no copies between layouts, no waiting in a step, no more memory than the plain form."""

import pytest
import torch
from layout_copies import LayoutCopies
from torch.profiler import ProfilerActivity, profile

from nnunet_resunet_ds.loss import RegionDiceFocalLoss
from nnunet_resunet_ds.network import ResUNetDS, forms
from nnunet_resunet_ds.plans import res_unet_ds_architecture

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]
EDGE = 64
LAYOUT_COPIES = ("nchwToNhwc", "nhwcToNchw", "transpose_readWrite", "convertTensor")
"""Parts of the names of cuDNN's kernels that bring a tensor into another layout, or another format."""
MAX_SHARE = 0.02
"""Of the time of a step, that these may take."""


@pytest.fixture(scope="module", params=[{}, {"region_weights": [1.0, 2.0, 3.0], "batch_dice": False}])
def step(request):
    """A training step of a network of the paper's widths, already warm."""
    torch.manual_seed(0)
    network = ResUNetDS(4, 3, **res_unet_ds_architecture((EDGE,) * 3, (64, 96, 128, 192))["arch_kwargs"])
    network.apply(network.initialize).cuda().train()
    loss = RegionDiceFocalLoss(**request.param).cuda()
    images = torch.randn(2, 4, EDGE, EDGE, EDGE, device="cuda")
    targets = [torch.rand(2, 3, *[EDGE // 2**head] * 3, device="cuda") > 0.7 for head in range(3)]

    def run():
        with torch.autocast("cuda", torch.float16):
            outputs = network(images)
            value = sum(loss(*pair) for pair in zip(outputs, targets, strict=True))
        value.backward()
        network.zero_grad(set_to_none=True)
        return value.detach()

    run()
    torch.cuda.synchronize()
    return run


def test_the_fused_form_is_what_runs():
    assert forms.why_not_fused(torch.device("cuda", torch.cuda.current_device())) is None
    assert forms.form_of(torch.zeros(1, device="cuda")).name == "fused"


def test_a_step_copies_no_tensor_into_another_layout(step):
    """Of PyTorch's operations the images alone, once; of cuDNN, within an operation, next to nothing."""
    with LayoutCopies() as copies:
        step()
    assert len(copies.found) <= 1, copies.found
    with profile(activities=[ProfilerActivity.CUDA]) as work:
        step()
        torch.cuda.synchronize()
    times = {event.key: event.device_time_total for event in work.key_averages()}
    if not any(times.values()):
        pytest.skip("this system does not let a user count kernels")
    assert any("normalise" in kernel for kernel in times)  # that Triton's are seen at all
    within = {kernel: time for kernel, time in times.items() if any(part in kernel for part in LAYOUT_COPIES)}
    assert sum(within.values()) < MAX_SHARE * sum(times.values()), within


def test_a_step_waits_for_nothing(step):
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode(mode)


def test_a_step_takes_no_more_memory_than_in_the_plain_form(step):
    peaks = []
    for context in (torch.enable_grad, forms.plain_only):
        torch.cuda.empty_cache()
        with context():
            step()
            torch.cuda.reset_peak_memory_stats()
            step()
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[0] <= 1.05 * peaks[1]  # what cuDNN works in is counted, and differs by layout


def test_the_loss_falls_as_in_the_plain_form(step):
    with forms.plain_only():
        plain = step()
    torch.testing.assert_close(step(), plain, rtol=2e-2, atol=2e-2)
