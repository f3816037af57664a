import pytest
import torch
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nnunet_resunet_ds.network import ResUNetDS, salient_voxels
from nnunet_resunet_ds.plans import PAPER_FEATURES, PAPER_PATCH_SIZE, res_unet_ds_architecture

SMALL = (4, 8, 12, 16)


def build(patch_size=(16, 16, 16), features=SMALL, deep_supervision=True, **architecture) -> nn.Module:
    """Build as nnU-Net does: from the plans entry, by dotted name."""
    entry = res_unet_ds_architecture(patch_size, features, **architecture)
    return get_network_from_plans(
        entry["network_class_name"],
        entry["arch_kwargs"],
        entry["_kw_requires_import"],
        input_channels=4,
        output_channels=3,
        deep_supervision=deep_supervision,
    )


def test_paper_network_has_the_counted_parameters_flops_and_bottleneck():
    with torch.device("meta"):
        network = build(PAPER_PATCH_SIZE, PAPER_FEATURES, deep_supervision=False)
        images = torch.empty(1, 4, *PAPER_PATCH_SIZE)
    with FlopCounterMode(display=False) as counter:
        network(images)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(51.8, abs=0.05)  # D2
    assert counter.get_total_flops() / 1e12 == pytest.approx(2.78, abs=0.01)  # D2
    assert [stage.output_channels for stage in network.encoder.stages] == [64, 96, 128, 192, 256, 384, 512]  # D1
    skips = network.encoder(torch.empty(1, 5, *PAPER_PATCH_SIZE, device="meta"))
    assert skips[-1].shape == (1, 512, 2, 2, 2)  # D1


def test_three_heads_on_the_three_finest_levels():
    network = build()
    assert len(network.decoder.seg_layers) == 3  # D3
    shapes = [tuple(head.shape) for head in network(torch.randn(1, 4, 16, 16, 16))]
    assert shapes == [(1, 3, 16, 16, 16), (1, 3, 8, 8, 8), (1, 3, 4, 4, 4)]


def test_switching_deep_supervision_off_gives_the_first_head_alone():
    network = build().eval()
    images = torch.randn(1, 4, 16, 16, 16)
    heads = network(images)
    network.decoder.deep_supervision = False
    torch.testing.assert_close(network(images), heads[0])


def test_every_parameter_gets_a_gradient():
    network = build()
    sum(head.square().mean() for head in network(torch.randn(2, 4, 16, 16, 16))).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("residual", [True, False])
def test_residual_is_one_argument(residual):
    blocks = {type(module).__name__ for module in build(residual=residual).modules()}
    assert ("ResidualBlock" in blocks) == residual
    convolutions = {id(m): m for m in build(residual=residual).modules() if isinstance(m, nn.Conv3d)}
    kernels = [m.kernel_size for m in convolutions.values()]
    assert kernels.count((3, 3, 3)) == 2 * (4 + 3)  # D2: two a stage in encoder and decoder, whichever the block
    slopes = {m.negative_slope for m in build(residual=residual).modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.01}  # D2


def test_salient_voxels_are_where_any_modality_is_away_from_zero():
    images = torch.zeros(1, 4, 2, 2, 2)
    images[0, 0, 0, 0, 0] = -0.0101  # below the mean is brain, too
    images[0, 3, 1, 1, 1] = 0.0101
    images[0, :, 0, 1, 1] = torch.tensor([0.0099, -0.0099, 0.005, 0.0])  # as resampling leaves the background
    expected = torch.zeros(1, 1, 2, 2, 2)
    expected[0, 0, 0, 0, 0] = expected[0, 0, 1, 1, 1] = 1
    torch.testing.assert_close(salient_voxels(images), expected)
    assert salient_voxels(images.half()).dtype == torch.float16


def test_salient_channel_reaches_the_first_convolution():
    seen = []
    network = build()
    network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.randn(1, 4, 16, 16, 16)
    images[..., :8] = 0
    network(images)
    torch.testing.assert_close(seen[0][:, :4], images)
    torch.testing.assert_close(seen[0][:, 4:], (images != 0).any(1, keepdim=True).float())  # D4
    assert build(salient_channel=False)(images)[0].shape == (1, 3, 16, 16, 16)


def test_the_salient_channel_flips_with_the_image():
    images = torch.randn(1, 4, 6, 6, 6) * (torch.rand(1, 1, 6, 6, 6) > 0.5)
    for axes in ([2], [3, 4], [2, 3, 4]):
        torch.testing.assert_close(salient_voxels(images.flip(axes)).flip(axes), salient_voxels(images))


def test_one_voxel_at_the_bottleneck_is_refused_in_training():
    network = ResUNetDS(4, 3, [4, 8], [[1, 1, 1], [2, 2, 2]], n_heads=1)
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        network(torch.randn(1, 4, 2, 2, 2))


@pytest.mark.parametrize(("features", "n_heads"), [([4], 1), ([4, 8], 2), ([4, 8, 8], 1)])
def test_impossible_shapes_are_named(features, n_heads):
    with pytest.raises(ValueError, match=r"need at least two stages|n_heads must be"):
        ResUNetDS(4, 3, features, [[1, 1, 1], [2, 2, 2]], n_heads=n_heads)


def test_pretrained_weights_load_by_nnunet_except_the_heads(tmp_path):
    source, target = build(), build()
    heads_before = [p.clone() for p in target.decoder.seg_layers.parameters()]
    torch.save({"network_weights": source.state_dict()}, tmp_path / "pretrained.pth")
    load_pretrained_weights(target, tmp_path / "pretrained.pth")
    torch.testing.assert_close(list(target.encoder.parameters()), list(source.encoder.parameters()))
    torch.testing.assert_close(list(target.decoder.seg_layers.parameters()), heads_before)
