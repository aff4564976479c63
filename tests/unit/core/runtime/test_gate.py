"""The gate before the OpenVINO plug-in: what it compares on, what it finds, and that a machine measures once."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.runtime.openvino.agreement import Judge, decisive
from core.runtime.openvino.drawings import draw_slice
from core.runtime.openvino.gate import answer, choose_cases, measure
from core.runtime.openvino.plug_in import NO_DEVICE, why_not
from core.runtime.openvino.report import Question, Report, find_report
from core.runtime.session import OrtSession
from tests.fixtures.openvino import needs_plug_in

ROOT = Path(__file__).parents[4]


def ask(models: Path, name: str = "tumor-segmenter", **given: Any) -> Question:
    fields: dict[str, Any] = {"thresholds": (0.5,)} if name == "tumor-segmenter" else {"choices": ((0, 1, 2, 3),)}
    path = models / name / "1" / "model.onnx"
    return Question(
        **{"model": path, "sha256": "0" * 64, "variant": "reference", "size": 64, "slices": 20} | fields | given
    )


def test_drawn_slices_are_the_same_each_time() -> None:
    first = draw_slice(7, 4, 64)
    assert (first.shape, first.dtype) == ((4, 64, 64), np.dtype(np.float32))
    assert 0 <= first.min() < first.max() <= 1
    np.testing.assert_array_equal(first, draw_slice(7, 4, 64))
    assert not np.array_equal(first, draw_slice(8, 4, 64))


@pytest.mark.parametrize("name", ["tumor-segmenter", "tumor-classifier"])
def test_a_tenth_of_the_slices_lie_near_the_decision(tiny_models: Path, name: str) -> None:
    question = ask(tiny_models, name, slices=200)
    reference = OrtSession(question.model, force_cpu=True)
    cases = choose_cases(question, reference)
    judge = Judge(question.choices, question.thresholds)
    assert len(cases) == 200
    assert all(judge.is_near(case.expected) for case in cases[-20:])
    for case in cases[::50]:
        given = decisive(reference.run({reference.inputs[0].name: case.drawn[np.newaxis]}))[0]
        np.testing.assert_allclose(given, case.expected, rtol=1e-5)


def test_a_denied_graph_is_not_tried(tiny_models: Path) -> None:
    report = measure(ask(tiny_models, "tumor-classifier"))
    assert (report.refused, report.trials) == ("its graph holds ReduceLogSumExp with axes as an attribute", ())


@pytest.mark.skipif(why_not() != NO_DEVICE, reason="the OpenVINO plug-in is not installed, or knows this processor")
def test_a_processor_that_it_does_not_offer_is_told(tiny_models: Path, tmp_path: Path) -> None:
    question = ask(tiny_models, keep=tmp_path)
    assert answer(question).refused == NO_DEVICE
    kept = find_report(question)
    assert kept is not None
    assert kept.refused == NO_DEVICE


@needs_plug_in
def test_the_gate_measures_and_compares(tiny_models: Path) -> None:
    report = measure(ask(tiny_models))
    (trial,) = report.trials
    assert (trial.fault, trial.agreement, trial.hint) == ("", 1.0, "f32")
    assert min(trial.cpu_ms, report.cpu_ms) > 0


def test_one_process_measures_and_the_others_take_what_it_found(tiny_models: Path, tmp_path: Path) -> None:
    """Another holds the lock, and has found something by the time that it lets go."""
    question = ask(tiny_models, keep=tmp_path)
    assert question.kept is not None
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [sys.executable, "-m", "core.runtime.openvino.gate"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(question.model_dump_json())
        process.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=3)
        question.kept.write_text(Report(refused="found by another").model_dump_json())
    assert process.stdout is not None
    with process.stdout:
        assert Report.model_validate_json(process.stdout.read()).refused == "found by another"
    assert process.wait() == 0


def test_another_file_version_or_way_of_reading_is_measured_anew(
    tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = ask(tiny_models, "tumor-classifier", keep=tmp_path)
    answer(question)
    assert find_report(question) is not None
    for changed in ({"sha256": "1" * 64}, {"choices": ((0, 1),)}, {"slices": 30}, {"hints": ("f32", "bf16")}):
        assert find_report(question.model_copy(update=changed)) is None
    monkeypatch.setattr("core.runtime.openvino.report.versions", lambda: {"onnxruntime": "0"})
    assert find_report(question) is None
    monkeypatch.undo()
    monkeypatch.setattr("core.runtime.openvino.report.processor", lambda: "Another: avx2")
    assert find_report(question) is None


def test_a_folder_that_cannot_be_used_keeps_nothing_and_stops_nothing(tiny_models: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    question = ask(tiny_models, "tumor-classifier", keep=tmp_path / "file" / "gate")
    assert answer(question).refused
    assert find_report(question) is None


def test_reports_are_whole_or_count_as_none(tiny_models: Path, tmp_path: Path) -> None:
    question = ask(tiny_models, "tumor-classifier", keep=tmp_path)
    answer(question)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", ".json"]
    assert question.kept is not None
    question.kept.write_text("{")
    assert find_report(question) is None
    assert answer(question).refused
