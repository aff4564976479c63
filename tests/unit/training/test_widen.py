"""Widening keeps the function, and the copies part ways."""

import pytest
import torch

from training.networks.classifiers import ResNetClassifier
from training.networks.starts import widened


def trained_like(width: int) -> ResNetClassifier:
    """A narrow network with nothing at its initial value."""
    torch.manual_seed(3)
    model = ResNetClassifier(4, width)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.add_(torch.randn_like(value) * 0.05)
            if name.endswith("bn3.weight"):
                value.add_(0.5)
    model.train()
    for _ in range(3):
        model(torch.rand(4, 1, 64, 64))
    return model.eval()


def test_the_wider_network_computes_the_same() -> None:
    narrow = trained_like(8)
    wide = ResNetClassifier(4, 16)
    wide.load_state_dict(widened(narrow.state_dict(), wide.state_dict()))
    images = torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        *answers, features = wide.eval()(images)
        *narrow_answers, narrow_features = narrow(images)
    torch.testing.assert_close(answers, narrow_answers, rtol=1e-4, atol=1e-4)
    # Every channel of the last map stands there twice.
    torch.testing.assert_close(features, torch.cat([narrow_features] * 2, dim=1), rtol=1e-4, atol=1e-4)


def test_the_copies_of_a_channel_receive_different_gradients() -> None:
    narrow = trained_like(8)
    wide = ResNetClassifier(4, 16)
    wide.load_state_dict(widened(narrow.state_dict(), wide.state_dict()))
    wide(torch.rand(3, 1, 64, 64)).logits.square().sum().backward()
    gradient = wide.backbone.layer1[0].conv1.weight.grad
    assert gradient is not None
    assert not torch.allclose(gradient[:8], gradient[8:], rtol=1e-3)


def test_the_same_width_is_taken_as_it_is() -> None:
    narrow = trained_like(8)
    for name, value in widened(narrow.state_dict(), narrow.state_dict()).items():
        torch.testing.assert_close(value, narrow.state_dict()[name])


@pytest.mark.parametrize("width", [4, 24])
def test_other_ratios_are_refused(width: int) -> None:
    with pytest.raises(ValueError, match="cannot become"):
        widened(trained_like(8).state_dict(), ResNetClassifier(4, width).state_dict())


def test_other_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="not the same layers"):
        widened({"a": torch.zeros(1)}, ResNetClassifier(4, 8).state_dict())
