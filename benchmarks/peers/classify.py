"""What every peer does with one request, as its documentation would have it: decode, prepare, run, name the labels.

Runs in the peers' own environment, where nothing of Falx is installed.
"""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

LABELS = ("glioma", "meningioma", "pituitary", "no_tumor")
SIDE = 224
MODEL = os.environ.get("PEER_MODEL", "")
PORT = int(os.environ.get("PEER_PORT", "0"))
WORKERS = int(os.environ.get("PEER_WORKERS", "1"))
# Where a server batches, it may put so many together, and wait for them so long.
BATCH = 4
WAIT_MS = 5

Image = npt.NDArray[np.float32]


def open_session() -> ort.InferenceSession:
    """The network on the CPU provider, one thread a run, as many runs at once as there are workers."""
    cv2.setNumThreads(1)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])


def prepare(data: bytes) -> Image:
    """Bytes of an image file to (1, side, side), float32 in [0, 1]."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    resized = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return (resized[None] / np.float32(255)).astype(np.float32)


def run(session: ort.InferenceSession, images: list[Image]) -> list[dict[str, Any]]:
    """Answers to images (1, side, side), in their order."""
    (logits,) = session.run(["logits"], {"image": np.stack(images)})
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = raised / raised.sum(axis=1, keepdims=True)
    return [
        {"label": LABELS[int(row.argmax())], "probabilities": dict(zip(LABELS, map(float, row), strict=True))}
        for row in shares
    ]
