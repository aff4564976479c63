"""Which execution provider runs the networks: CUDA where it is, else the CPU, and never silently."""

from __future__ import annotations

from typing import Any, Literal

import onnxruntime as ort

from core.errors import ProviderMissing

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

# Shapes are padded to a few fixed batch sizes, so the exhaustive search for the fastest convolution is paid
# once per size, in the warm-up. A copy outside the default stream is racy with plain numpy outputs.
CUDA_OPTIONS: dict[str, str] = {
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "EXHAUSTIVE",
    "cudnn_conv_use_max_workspace": "1",
    "do_copy_in_default_stream": "1",
    "use_tf32": "0",  # keeps the parity with the float32 reference to 1e-4
}

ProviderChoice = tuple[str, dict[str, Any]]
Hint = Literal["f32", "bf16"]
"""What the OpenVINO plug-in computes float32 in; without a hint it takes bf16 where it can."""


def wanted_providers() -> list[ProviderChoice]:
    """Providers to ask ONNX Runtime for, best first."""
    cpu: ProviderChoice = (CPU, {})
    if CUDA not in ort.get_available_providers():
        return [cpu]
    # Finds the CUDA and cuDNN libraries that came as wheels; they are on no loader path.
    ort.preload_dlls()
    return [(CUDA, dict(CUDA_OPTIONS)), cpu]


def check_provider(active: str, *, require_cuda: bool) -> str:
    """The provider that a session really got, checked against what the operator requires.

    ONNX Runtime falls back from CUDA to the CPU with a log line only, so this must be ``get_providers()[0]``
    of the session itself. Raises ProviderMissing.
    """
    if require_cuda and active != CUDA:
        raise ProviderMissing(
            f"FALX_PROVIDER is cuda or FALX_REQUIRE_CUDA is set, the session runs on {active}. Check the driver, that "
            "the container sees the GPU, and that the cuda extra is installed."
        )
    return active
