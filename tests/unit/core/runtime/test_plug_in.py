"""What sessions on the OpenVINO plug-in are given, and its answers where it can be used on this processor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.runtime.cpus import usable_cpus
from core.runtime.openvino import plug_in
from core.runtime.openvino.agreement import find_difference
from core.runtime.openvino.drawings import draw_slice
from core.runtime.session import OrtSession
from tests.fixtures.openvino import needs_plug_in


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("avx2", ("f32",)), ("avx512_bf16 amx_int8", ("f32",)), ("amx_tile amx_bf16", ("f32", "bf16"))],
)
def test_bf16_is_tried_with_matrix_units_for_it_alone(tmp_path: Path, flags: str, expected: tuple[str, ...]) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"model name\t: Some CPU\nflags\t\t: fpu {flags}\n\nmodel name\t: Other\nflags: amx_bf16\n")
    assert plug_in.hints(cpuinfo) == expected
    assert plug_in.processor(cpuinfo) == f"Some CPU: {' '.join(sorted(['fpu', *flags.split()]))}"
    assert plug_in.hints(tmp_path / "none") == ("f32",)


def test_one_session_has_as_many_streams_and_threads_as_runners() -> None:
    (given,) = plug_in.device_options("f32", 3).values()
    assert json.loads(given) == {
        "CPU": {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": "3", "INFERENCE_NUM_THREADS": "3"}
    }


@needs_plug_in
def test_a_session_on_it_says_so_and_agrees(tiny_models: Path) -> None:
    path = tiny_models / "tumor-segmenter/1/model.onnx"
    session = OrtSession(path, hint="f32")
    assert (session.provider, session.runners) == (plug_in.OPENVINO, usable_cpus())
    slices = [draw_slice(number, 4, 64) for number in range(3)]
    assert find_difference(session, OrtSession(path, force_cpu=True), slices, exact=True) == ""


@needs_plug_in
def test_a_reduction_over_everything_is_noticed_at_once(tiny_models: Path) -> None:
    """The tiny classifier's energy is such a node: the deny-list keeps it away, and the comparison would as well."""
    path = tiny_models / "tumor-classifier/1/model.onnx"
    slices = [draw_slice(number, 1, 64) for number in range(3)]
    fault = find_difference(OrtSession(path, hint="f32"), OrtSession(path, force_cpu=True), slices, exact=True)
    assert "energy has shape ()" in fault
