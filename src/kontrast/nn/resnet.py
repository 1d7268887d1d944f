"""ResNet (He et al. 2016, arXiv:1512.03385), one channel, with torchvision's parameter names.

The bottleneck strides in its 3×3 convolution, as torchvision's does ("v1.5"), else public weights would load but
mean something else. The small stem is the CIFAR one: 3×3, stride 1, no max-pooling.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from kontrast.nn.backbone import Encoder
from kontrast.nn.convolution import Conv2d


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> Conv2d:
    return Conv2d(inputs, outputs, size, stride=stride, padding=size // 2)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """A projection where the block changes shape (option B of the paper), else None: the identity."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut; of ResNet-18 and -34."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        # In place is safe here: batch norm keeps its input for the backward pass, not its output.
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) → (B, width, h / stride, w / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1×1 down, 3×3, 1×1 up beside a shortcut; of ResNet-50."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1, self.bn1 = _conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) → (B, 4 width, h / stride, w / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _stage(block: type[BasicBlock | Bottleneck], inputs: int, width: int, depth: int, stride: int) -> nn.Sequential:
    rest = (block(width * block.expansion, width, 1) for _ in range(depth - 1))
    return nn.Sequential(block(inputs, width, stride), *rest)


class ResNet(Encoder):
    """A ResNet without its classification layer.

    Args:
        block: the kind of residual block.
        depths: blocks in each of the four stages.
        small: the stem for images up to about 48 pixels; the ImageNet stem divides the size by 4 at once.
    """

    def __init__(self, block: type[BasicBlock | Bottleneck], depths: Sequence[int], *, small: bool) -> None:
        super().__init__()
        self.conv1 = _conv(1, 64, 3) if small else _conv(1, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        first, second, third, fourth = depths
        self.layer1 = _stage(block, 64, 64, first, stride=1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, second, stride=2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, third, stride=2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, fourth, stride=2)
        self.feature_dim = 512 * block.expansion
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def feature_maps(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) → (B, D, H/32, W/32); H/8 with the small stem."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))
