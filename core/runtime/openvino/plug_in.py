"""The OpenVINO plug-in for ONNX Runtime: whether it can be used here, and what a session on it is given.

It is a package of its own beside ONNX Runtime, for Linux and Windows on x86-64, and offers Intel's processors alone.
"""

from __future__ import annotations

import importlib
import json
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import onnxruntime as ort

from core.errors import ProviderMissing
from core.runtime.providers import Hint

OPENVINO: Final = "OpenVINOExecutionProvider"
NO_DEVICE: Final = "The OpenVINO plug-in offers no device for this processor."
_MODULE: Final = "onnxruntime_ep_openvino"
_PACKAGES: Final = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-ep-openvino")
_CPUINFO: Final = Path("/proc/cpuinfo")
_MATRIX_UNITS: Final = "amx_bf16"


def installed() -> bool:
    """Whether the plug-in's package is here, whatever it is worth."""
    return find_spec(_MODULE) is not None


def versions() -> dict[str, str]:
    """Versions of the packages that compute, by name."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def processor(cpuinfo: Path = _CPUINFO) -> str:
    """The processor's name and the instructions that it has, as Linux tells them; elsewhere its name alone."""
    facts = _facts(cpuinfo)
    name = facts.get("model name") or platform.processor() or platform.machine()
    return f"{name}: {' '.join(sorted(facts.get('flags', '').split()))}"


def hints(cpuinfo: Path = _CPUINFO) -> tuple[Hint, ...]:
    """Precisions worth trying. Without matrix units for it, bf16 takes up to four times as long as f32."""
    return ("f32", "bf16") if _MATRIX_UNITS in _facts(cpuinfo).get("flags", "").split() else ("f32",)


def add_plug_in(options: ort.SessionOptions, hint: Hint, streams: int) -> None:
    """Have a session run on the plug-in, ``streams`` threads at a time. Raises ProviderMissing."""
    device = find_device()
    if device is None:
        raise ProviderMissing(NO_DEVICE)
    options.add_provider_for_devices([device], device_options(hint, streams))


def device_options(hint: Hint, streams: int) -> dict[str, str]:
    """Options of the plug-in for one session that ``streams`` threads run.

    It has a stream and a thread for each: two sessions of one thread, or one stream for two threads, use one core.
    """
    given = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": str(streams), "INFERENCE_NUM_THREADS": str(streams)}
    return {"load_config": json.dumps({"CPU": given})}


@cache
def find_device() -> ort.OrtEpDevice | None:
    """This processor, as the plug-in offers it; None where it offers none, as on those that are not Intel's.

    Raises ProviderMissing where the plug-in is not installed or cannot be loaded.
    """
    if not installed():
        raise ProviderMissing("The OpenVINO plug-in (onnxruntime-ep-openvino) is not installed.")
    try:
        plug_in = importlib.import_module(_MODULE)
        ort.register_execution_provider_library(_MODULE, plug_in.get_library_path())
        devices = ort.get_ep_devices()
    except Exception as error:  # whatever a foreign library may raise while it is loaded
        raise ProviderMissing(f"The OpenVINO plug-in cannot be loaded: {error}") from error
    found = (
        device for device in devices if device.ep_name == OPENVINO and device.ep_metadata.get("ov_device") == "CPU"
    )
    return next(found, None)


def why_not() -> str:
    """Why the plug-in cannot be used here; nothing where it can."""
    try:
        return NO_DEVICE if find_device() is None else ""
    except ProviderMissing as error:
        return error.detail


def _facts(cpuinfo: Path) -> dict[str, str]:
    """What is said of the first processor."""
    try:
        first = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
