"""Depthwise convolutions in float32 where the rest of a network trains in bfloat16 on a CPU.

Their bfloat16 gradients take several times as long there: without this an EfficientNet trains slower with autocast than
without it, even where AMX computes everything else.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def depthwise_in_float32(model: nn.Module) -> None:
    """Have every depthwise convolution step out of autocast; weights and what they are called stay."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.register_forward_pre_hook(_leave_autocast)
            module.register_forward_hook(_return_to_autocast)


# Hooks find what they need in the module that they are called with, so copies of a network have their own.
def _leave_autocast(module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    module.in_autocast = torch.is_autocast_enabled("cpu")
    torch.set_autocast_enabled("cpu", enabled=False)
    return (inputs[0].float(),)


def _return_to_autocast(module: Any, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
    torch.set_autocast_enabled("cpu", enabled=module.in_autocast)
    return output.to(torch.get_autocast_dtype("cpu")) if module.in_autocast else output
