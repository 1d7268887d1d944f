"""What every encoder offers. The architectures are beside this file; `encoders` names and builds them."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """Images in, one feature vector per image out: `forward(x) = pool(feature_maps(x))`.

    Attributes:
        feature_dim: D, the length of the feature vector.
    """

    feature_dim: int

    @abstractmethod
    def feature_maps(self, x: Tensor) -> Tensor:
        """The last spatial map before pooling, (B, D, h, w), for (B, 1, H, W) normalised images; for Grad-CAM."""

    def pool(self, maps: Tensor) -> Tensor:
        """(B, D, h, w) → (B, D): the mean over places."""
        return maps.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) normalised → (B, D)."""
        return self.pool(self.feature_maps(x))
