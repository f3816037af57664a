"""The whole pipeline: nnU-Net's result for its parameters, the same for a seed, and never waiting for the device."""

import pytest
import torch
from augmented import BOX, LABELS, PATCH, SCALES, made_up_sample, middle, nnunet_transforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from nnunet_resunet_ds.training.augmentation.device_augmentation import DeviceAugmentation
from nnunet_resunet_ds.training.augmentation.gamma import Bend
from nnunet_resunet_ds.training.augmentation.transform import Sometimes
from nnunet_resunet_ds.training.augmentation.translation import pipeline_like

CPU = torch.device("cpu")
N_BATCH = 2


def augmentation(entropy=(7,), device=CPU, **settings):
    return DeviceAugmentation(pipeline_like(nnunet_transforms(**settings), LABELS), device, entropy)


def batch():
    images, labels = zip(*(made_up_sample(seed=seed) for seed in range(N_BATCH)), strict=True)
    return list(images), list(labels), [middle(BOX)] * N_BATCH


def always(transforms):
    """Let every transform be applied to every sample."""
    transforms.transforms[0].p_rotation = transforms.transforms[0].p_scaling = 1
    for transform in transforms.transforms:
        if isinstance(transform, RandomTransform):
            transform.apply_probability = 1
    return transforms


def tensors(result):
    image, targets = result
    return [image, *targets]


# ---- the result ----


def their_parameters(ours, parameters):
    """Return parameters of ours, as batchgeneratorsv2's transform of the same place takes them."""
    channels = torch.tensor(list(parameters), dtype=torch.long)
    values = list(parameters.values())
    name = type(ours).__name__
    if name in ("Brightness", "Contrast"):
        return {"apply_to_channel": channels, "multipliers": torch.tensor(values)}
    if name == "LowResolution":
        return {"apply_to_channel": channels, "scales": torch.tensor([[scale] * 3 for scale in values])}
    if name == "Gamma":
        columns = Bend(*(torch.tensor(column) for column in zip(*values, strict=True)))
        return {"apply_to_channel": channels, "gamma": columns.gamma, "invert_image": columns.inverted,
                "retain_stats": columns.retain_stats}  # fmt: skip
    assert name == "GaussianBlur"
    return {"apply_to_channel": torch.tensor([channel in parameters for channel in range(4)]), "sigmas": values}


def by_nnunet(image, labels, transforms, augmenting):
    """Run nnU-Net's own transforms one after the other, with the parameters that ours draw."""
    random, pipeline = augmenting._random, augmenting.pipeline
    spatial, *others = transforms.transforms
    matrix = pipeline.spatial.draw(random)
    spatial.p_rotation = spatial.p_scaling = 1
    parameters = spatial.get_parameters(image=image)
    grid = spatial._get_base_grid_clone() @ torch.from_numpy(matrix.T).float()
    parameters["grid"] = (grid / (torch.tensor(image.shape[1:]) / 2)).flip(-1)
    values = {"image": spatial._apply_to_image(image, **parameters)}
    values["segmentation"] = spatial._apply_to_segmentation(labels, **parameters)
    for ours, theirs in zip(pipeline.transforms, others[:-1], strict=True):
        if isinstance(ours, Sometimes):
            assert ours.draw(random, None)
            drawn = ours.transform.draw(random, type("S", (), values))
            values = theirs.transform.apply(values, **their_parameters(ours.transform, drawn))
        elif type(ours).__name__ == "Mirror":
            values = theirs.apply(values, axes=ours.draw(random, None))
        else:
            values = theirs(**values)
    return others[-1](**values)


@pytest.mark.parametrize("epoch", range(4))
def test_the_whole_chain_is_nnunet_s_for_the_same_parameters(epoch):
    """Without noise, which no two sources share; test_intensity.py has that."""
    transforms = always(nnunet_transforms())
    del transforms.transforms[1]
    ours, replayed = (DeviceAugmentation(pipeline_like(transforms, LABELS), CPU, (3,)) for _ in range(2))
    ours.start_epoch(epoch)
    replayed.start_epoch(epoch)
    image, labels = made_up_sample(seed=epoch)
    found_image, found = ours([image], [labels], [middle(BOX)])
    expected = by_nnunet(image, labels, transforms, replayed)
    assert (found_image[0] - expected["image"]).abs().max() < 2e-4  # rounding, through nine transforms
    for mine, target in zip(found, expected["segmentation"], strict=True):
        assert (mine[0] != target).float().mean() < 1e-4


def test_a_batch_has_images_of_the_patch_and_three_targets():
    image, targets = augmentation()(*batch())
    assert image.shape == (N_BATCH, 4, *PATCH) and image.dtype == torch.float32
    sizes = [(N_BATCH, 3, *(round(n * scale[0]) for n in PATCH)) for scale in SCALES]
    assert [target.shape for target in targets] == sizes
    assert all(target.dtype == torch.bool for target in targets)


def test_without_deep_supervision_there_is_one_target():
    _, target = augmentation(scales=None)(*batch())
    assert target.shape == (N_BATCH, 3, *PATCH)


def test_the_background_stays_exactly_0():
    """Through every transform, noise included."""
    augmenting = DeviceAugmentation(pipeline_like(always(nnunet_transforms(scales=None)), LABELS), CPU, (5,))
    pipeline = augmenting.pipeline
    assert [type(one).__name__ for one in pipeline.transforms[-2:]] == ["ReplacedLabel", "Regions"]
    augmenting.pipeline = pipeline._replace(transforms=pipeline.transforms[:-2])  # so that -1 can be seen
    image, segmentation = augmenting(*batch())
    assert torch.equal((image == 0).all(1, keepdim=True), segmentation < 0)
    assert 0.1 < (segmentation < 0).float().mean() < 0.9


def test_what_is_given_stays_as_it_is():
    images, labels, centres = batch()
    copies = [one.clone() for one in (*images, *labels)]
    augmenting = augmentation()
    for epoch in range(5):
        augmenting.start_epoch(epoch)
        augmenting(images, labels, centres)
    assert all(torch.equal(*pair) for pair in zip((*images, *labels), copies, strict=True))


# ---- a seed ----


def test_the_same_seed_and_epoch_give_the_same_batches():
    data = batch()

    def run(entropy, epoch):
        augmenting = augmentation(entropy)
        augmenting(*data)  # what was drawn before an epoch does not matter
        augmenting.start_epoch(epoch)
        return [tensor for _ in range(3) for tensor in tensors(augmenting(*data))]

    once = run((1, 0), 4)
    torch.manual_seed(0)  # nor does what others draw
    assert all(torch.equal(*pair) for pair in zip(once, run((1, 0), 4), strict=True))
    for entropy, epoch in (((2, 0), 4), ((1, 1), 4), ((1, 0), 5)):
        assert not torch.equal(once[0], run(entropy, epoch)[0])


def test_other_sources_of_random_numbers_are_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    augmentation()(*batch())
    assert torch.equal(torch.get_rng_state(), before)


# ---- nothing waits for the device ----

WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "item", "equal", "unique", "_unique2",
           "bincount", "index_put_", "index", "isin")  # fmt: skip
"""Operations whose result, or its shape, the CPU has to know."""


class Waits(TorchDispatchMode):
    """Counts them."""

    def __init__(self):
        super().__init__()
        self.found, self.n = [], 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.overloadpacket.__name__
        self.n += 1
        if name in WAITING:
            self.found.append(name)
        return operation(*args, **(kwargs or {}))


def test_no_value_is_read_from_the_device():
    augmenting = DeviceAugmentation(pipeline_like(always(nnunet_transforms()), LABELS), CPU, (1,))
    data = batch()
    with Waits() as waits:
        augmenting(*data)
    assert waits.found == [] and waits.n > 100


def test_the_counter_sees_what_waits():
    with Waits() as waits:
        values = torch.arange(3.0)
        float(values[0])
        values[values > 1] = 0
    assert {"_local_scalar_dense"} <= set(waits.found) and len(waits.found) > 1


def test_on_a_gpu_every_tensor_that_is_made_lies_there_and_none_is_copied_back():
    """Tensors without values, which raise where a value is asked for or devices meet; crops alone are copied there."""

    copied = []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            result = operation(*args, **(kwargs or {}))
            if operation.overloadpacket.__name__ == "_to_copy" and "device" in (kwargs or {}):
                copied.append((args[0].device.type, result.device.type))
            return result

    cuda = torch.device("cuda", 0)
    augmenting = DeviceAugmentation(pipeline_like(always(nnunet_transforms()), LABELS), CPU, (1,))
    augmenting._device = cuda
    augmenting._random.normal_like = torch.randn_like  # a generator of CUDA cannot be made here
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        images, labels, centres = batch()
        images, labels = ([fake.from_tensor(one) for one in values] for values in (images, labels))
        with Copies():
            image, targets = augmenting(images, labels, centres)
    assert {tensor.device for tensor in (image, *targets)} == {cuda}
    assert copied == [("cpu", "cuda")] * 2 * N_BATCH
