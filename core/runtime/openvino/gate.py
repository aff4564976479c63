"""Whether a graph may run on the OpenVINO plug-in, measured on this very processor.

``python -m core.runtime.openvino.gate`` is a process of its own, so that its CPU time is its own and a plug-in that
dies takes no service with it. It reads a ``Question`` from its standard input and writes a ``Report``. Of several
processes that share a folder of reports one measures at a time, and the others take what it has found.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.errors import BundleCorrupt, StartupError
from core.runtime.openvino.agreement import Judge, decisive, find_difference
from core.runtime.openvino.denied import find_denied
from core.runtime.openvino.drawings import FloatArray, draw_slice
from core.runtime.openvino.graph import read_graph
from core.runtime.openvino.plug_in import NO_DEVICE, find_device
from core.runtime.openvino.report import Question, Report, Trial, alone, find_report, keep_report
from core.runtime.providers import Hint
from core.runtime.session import OrtSession

_TIMED: Final = 20
_HALVINGS: Final = 6
_NICENESS: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A slice (channels, size, size), and what the CPU provider says of it: logits or probabilities."""

    drawn: FloatArray
    expected: FloatArray


def answer(question: Question) -> Report:
    """The kept report, or else a new one, which is kept. Takes half a minute of CPU time a precision.

    Raises ProviderMissing where the plug-in cannot be loaded, BundleCorrupt where the CPU provider does not take the
    graph: neither is kept.
    """
    with alone(question.keep):
        report = find_report(question)
        if report is None:
            report = measure(question)
            keep_report(report, question)
    return report


def measure(question: Question) -> Report:
    """Compare and time the graph; raises as ``answer`` does."""
    try:
        denied = find_denied(read_graph(question.model))
    except ValueError as error:
        denied = (str(error),)
    if denied:
        return Report(refused=f"its graph holds {', '.join(denied)}")
    if find_device() is None:
        return Report(refused=NO_DEVICE)
    reference = OrtSession(question.model, force_cpu=True)
    cases = choose_cases(question, reference)
    tried = [_try(question, hint, reference, cases) for hint in question.hints]
    cpu_ms = min((reference_ms for _, reference_ms in tried if reference_ms), default=0.0)
    return Report(cpu_ms=cpu_ms, trials=tuple(trial for trial, _ in tried))


def _try(question: Question, hint: Hint, reference: OrtSession, cases: Sequence[Case]) -> tuple[Trial, float]:
    """The trial, and CPU milliseconds of the reference, measured in turn with it; 0 where none were."""
    try:
        session = OrtSession(question.model, hint=hint)
    except BundleCorrupt:  # it claims what it cannot convert
        return Trial(hint=hint, cpu_ms=0.0, agreement=0.0, fault="the plug-in fails to load it"), 0.0
    int8 = question.variant == "int8"
    fault = find_difference(session, reference, [case.drawn for case in cases[:3]], exact=hint == "f32" and not int8)
    judge = Judge(question.choices, question.thresholds, int8=int8)
    times: list[float] = []
    reference_times: list[float] = []
    for number, case in enumerate(cases):
        given, spent = _timed(session, case.drawn)
        judge.add(case.expected, given)
        if number < _TIMED:
            times.append(spent)
            reference_times.append(_timed(reference, case.drawn)[1])
    found = judge.result()
    trial = Trial(hint=hint, cpu_ms=float(np.median(times)), agreement=found.share, fault=fault or found.fault)
    return trial, float(np.median(reference_times))


def _timed(session: OrtSession, drawn: FloatArray) -> tuple[FloatArray, float]:
    """Logits or probabilities of one slice, and CPU milliseconds of all threads of this process."""
    started = time.process_time_ns()
    outputs = session.run({session.inputs[0].name: drawn[np.newaxis]})
    spent = (time.process_time_ns() - started) / 1e6
    return decisive(outputs)[0], spent


def choose_cases(question: Question, reference: OrtSession) -> list[Case]:
    """Drawn slices for the graph; the last tenth of them are blends that lie near its decision, as far as there are."""
    channels = reference.inputs[0].shape[1] or 1
    judge = Judge(question.choices, question.thresholds)

    def case(drawn: FloatArray) -> Case:
        return Case(drawn, _timed(reference, drawn)[0])

    near = question.slices // 10
    cases = [case(draw_slice(number, channels, question.size)) for number in range(question.slices - near)]
    decided = [judge.decide(each.expected) for each in cases]
    blends: list[Case] = []
    for first, one in enumerate(cases):
        others = range(first + 1, len(cases))
        second = next((other for other in others if decided[other] != decided[first]), None)
        if len(blends) == near or second is None:
            break
        blend = _blend(one, cases[second], judge, case)
        blends += [blend] if blend is not None else []
    rest = range(len(cases), question.slices - len(blends))
    return [*cases, *(case(draw_slice(number, channels, question.size)) for number in rest), *blends]


def _blend(one: Case, other: Case, judge: Judge, case: Callable[[FloatArray], Case]) -> Case | None:
    """Between two slices that are decided otherwise, one near the decision; None where halving finds none."""
    decided = judge.decide(one.expected)
    for _ in range(_HALVINGS):
        middle = case((one.drawn + other.drawn) / np.float32(2))
        if judge.is_near(middle.expected):
            return middle
        one, other = (middle, other) if judge.decide(middle.expected) == decided else (one, middle)
    return None


def main() -> int:
    """Answer the question on standard input, behind whatever serves meanwhile."""
    os.nice(_NICENESS)
    question = Question.model_validate_json(sys.stdin.read())
    try:
        report = answer(question)
    except StartupError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 1
    sys.stdout.write(f"{report.model_dump_json()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
