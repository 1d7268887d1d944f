"""DenseNet-BC (Huang et al. 2017, arXiv:1608.06993), one channel, with torchvision's parameter names.

No activation works in place: each layer's input is also every later layer's, and Grad-CAM reads it.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kontrast.nn.backbone import Encoder
from kontrast.nn.convolution import Conv2d


class DenseLayer(nn.Module):
    """Batch norm, ReLU, 1×1 to 4k channels; batch norm, ReLU, 3×3 to k channels (k: growth)."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(inputs), nn.ReLU()
        self.conv1 = Conv2d(inputs, 4 * growth, 1)
        self.norm2, self.relu2 = nn.BatchNorm2d(4 * growth), nn.ReLU()
        self.conv2 = Conv2d(4 * growth, growth, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) → (B, inputs + growth, h, w): what it adds comes last."""
        y = self.conv1(self.relu1(self.norm1(x)))
        y = self.conv2(self.relu2(self.norm2(y)))
        return torch.cat([x, y], dim=1)


class Transition(nn.Sequential):
    """Between blocks: half the channels, half the size."""

    def __init__(self, inputs: int) -> None:
        super().__init__(
            OrderedDict(
                norm=nn.BatchNorm2d(inputs),
                relu=nn.ReLU(),
                conv=Conv2d(inputs, inputs // 2, 1),
                pool=nn.AvgPool2d(2),
            )
        )


class DenseNet(Encoder):
    """A DenseNet without its classification layer.

    Args:
        depths: layers per block.
        growth: k, the channels that each layer adds.
        small: the stem for images up to about 48 pixels: 3×3, stride 1, no pooling.
    """

    def __init__(self, depths: Sequence[int], *, growth: int = 32, small: bool) -> None:
        super().__init__()
        channels = 2 * growth
        features: OrderedDict[str, nn.Module] = OrderedDict()
        features["conv0"] = Conv2d(1, channels, 3, padding=1) if small else Conv2d(1, channels, 7, stride=2, padding=3)
        features["norm0"] = nn.BatchNorm2d(channels)
        features["relu0"] = nn.ReLU()
        features["pool0"] = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        for block, depth in enumerate(depths, start=1):
            dense = nn.Sequential()
            for layer in range(depth):
                dense.add_module(f"denselayer{layer + 1}", DenseLayer(channels + layer * growth, growth))
            features[f"denseblock{block}"] = dense
            channels += depth * growth
            if block < len(depths):
                features[f"transition{block}"] = Transition(channels)
                channels //= 2
        features["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(features)
        self.feature_dim = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def feature_maps(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) → (B, D, H/32, W/32); H/8 with the small stem."""
        return torch.relu(self.features(x))
