"""From the CPU provider to the OpenVINO plug-in, where that agrees and is faster, without a request noticing.

The models are served by the CPU provider at once. Behind them the gate (``core.runtime.openvino.gate``) measures each
graph in a process of its own; what it finds is weighed here, opened, compared once more, and put in the old one's
place. Requests that have found the old one finish with it: an answer names what has computed it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from weakref import ReferenceType, ref

import structlog

import core
from core.contracts.manifest import BundleFile
from core.errors import BundleCorrupt, ProviderMissing
from core.runtime.openvino.agreement import find_difference
from core.runtime.openvino.drawings import draw_slice
from core.runtime.openvino.plug_in import OPENVINO, hints, installed
from core.runtime.openvino.report import Question, Report, Trial, find_report
from core.runtime.providers import CPU
from core.runtime.session import OrtSession, Session
from core.serving.batcher import Batcher
from core.serving.model_server import ModelRegistry
from core.serving.served_model import RowOutputs, ServedModel
from core.serving.settings import ModelServingSettings

logger = structlog.get_logger("falx.providers")

GAIN: Final = 1.05
"""The plug-in must be this many times as fast as what serves: less is lost in the noise of measuring."""
_GATE_LIMIT_S: Final = 1800.0
_RETIRE_POLL_S: Final = 0.5
_ROOT: Final = Path(core.__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file of a bundle on the plug-in, and what was found of it."""

    file: BundleFile
    trial: Trial

    @property
    def text(self) -> str:
        """For people: file, precision, CPU time."""
        return f"{self.file.variant} in {self.trial.hint} on OpenVINO {self.trial.cpu_ms:.1f} ms"


@dataclass(frozen=True, slots=True)
class Choice:
    """What shall serve, None for the CPU provider as before; why; and each candidate's verdict for the metrics."""

    candidate: Candidate | None
    reason: str
    verdicts: tuple[tuple[Candidate, str], ...] = ()
    cpu_ms: float | None = None


def choose(
    reports: Sequence[tuple[BundleFile, Report]],
    serving: BundleFile,
    *,
    forced: bool = False,
) -> Choice:
    """The fastest of all that passed, if it is faster than ``serving`` on the CPU provider or ``forced``."""
    of_serving = next((report for file, report in reports if file == serving), Report())
    candidates = [Candidate(file, trial) for file, report in reports for trial in report.trials]
    if not candidates:
        refusals = "; ".join(sorted({report.refused for _, report in reports}))
        return Choice(None, f"not on OpenVINO: {refusals}")
    cpu_ms = of_serving.cpu_ms or None
    passed = sorted((each for each in candidates if not each.trial.fault), key=lambda each: each.trial.cpu_ms)
    fast = [each for each in passed if forced or (cpu_ms is not None and each.trial.cpu_ms * GAIN <= cpu_ms)]
    best = fast[0] if fast else None
    verdicts = tuple(
        (each, "differs" if each.trial.fault else "serves" if each is best else "slower") for each in candidates
    )
    cpu = f"{serving.variant} on the CPU provider " + (f"{cpu_ms:.1f} ms" if cpu_ms is not None else "not measured")
    if best is not None:
        return Choice(best, f"{best.text}, {cpu}, agreement {best.trial.agreement:.4f}", verdicts, cpu_ms)
    others = ", ".join(f"{each.text} ({each.trial.fault or 'not faster'})" for each in candidates)
    return Choice(None, f"{cpu}, {others}", verdicts, cpu_ms)


class ProviderChoice:
    """The choice for all models of a registry; ``start`` it once they are loaded, ``drain`` it before they are."""

    def __init__(self, settings: ModelServingSettings, registry: ModelRegistry) -> None:
        self._settings = settings
        self._registry = registry
        self._task: asyncio.Task[None] | None = None
        # Batchers that no new request finds, and the models that requests may still know them by.
        self._retired: list[tuple[Batcher[RowOutputs], list[ReferenceType[ServedModel]]]] = []

    def start(self) -> None:
        """Begin behind what serves, where an operator asks for the plug-in; nothing begins otherwise."""
        if self._settings.provider in ("auto", "openvino"):
            self._task = asyncio.get_running_loop().create_task(self.run())

    async def drain(self) -> None:
        """Stop choosing, and finish what still runs where it began."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*(batcher.drain() for batcher, _ in self._retired))

    async def run(self) -> None:
        """Measure, weigh and change graph by graph; whatever fails leaves its models where they are."""
        for addresses in self._groups():
            await self._consider([self._registry.resolve(address) for address in addresses])
        await self.retire()

    async def retire(self) -> None:
        """End what serves no more, and with it its network, once no request knows its models."""
        while self._retired:
            batcher, users = self._retired[0]
            while any(user() for user in users):  # noqa: ASYNC110 - what ends is a reference, which has no event
                await asyncio.sleep(_RETIRE_POLL_S)
            await batcher.drain()
            del self._retired[0]

    def _groups(self) -> list[list[str]]:
        """Addresses of the models that share a graph, of those that the CPU provider runs."""
        groups: dict[int, list[str]] = {}
        for served in self._registry.models:
            if served.session.provider == CPU:
                groups.setdefault(id(served.session), []).append(f"{served.name}@{served.version}")
        return list(groups.values())

    async def _consider(self, models: Sequence[ServedModel]) -> None:
        """Decide what runs the models of one graph, and why."""
        name, serving = models[0].name, models[0].file
        try:
            if not installed():
                raise ProviderMissing("The OpenVINO plug-in is not installed.")
            reports = [(file, await self._report(self._ask(models, file))) for file in self._files(models[0])]
            choice = choose(reports, serving, forced=self._settings.provider == "openvino")
            if choice.candidate is not None:
                session = await asyncio.to_thread(open_checked, models[0], choice.candidate)
                await self.change(models, choice.candidate, session, choice.reason)
        except Exception as error:  # whatever fails here must not end what serves
            choice = Choice(None, f"not on OpenVINO: {error}")
            logger.warning("the OpenVINO plug-in is not used", model=name, reason=choice.reason)
        if choice.candidate is None:
            self._registry.replace(models, [replace(served, reason=choice.reason) for served in models])
        self._tell(name, serving, choice)

    async def change(self, models: Sequence[ServedModel], chosen: Candidate, session: Session, reason: str) -> None:
        """Let ``session`` answer for the models from now on; requests that have found the old one finish with it."""
        batcher = await asyncio.to_thread(self._registry.start, models[0].bundle, session)
        file, hint = chosen.file, chosen.trial.hint
        new = [
            replace(served, file=file, session=session, batcher=batcher, hint=hint, reason=reason) for served in models
        ]
        self._retired.append((models[0].batcher, [ref(served) for served in models]))
        self._registry.replace(models, new)

    def _files(self, served: ServedModel) -> list[BundleFile]:
        """Files that the setting of precision allows."""
        files = served.bundle.manifest.files
        if self._settings.precision != "auto":
            return [served.file]
        return [file for file in files if file.variant == "reference" or file.passes_gate]

    def _ask(self, models: Sequence[ServedModel], file: BundleFile) -> Question:
        manifests = [served.bundle.manifest for served in models]
        classifies = self._registry.task == "classification"
        return Question(
            model=models[0].bundle.file_path(file).absolute(),
            sha256=file.sha256,
            variant=file.variant,
            size=manifests[0].image_size,
            choices=tuple(sorted({manifest.logit_indices for manifest in manifests})) if classifies else (),
            thresholds=() if classifies else tuple(sorted({manifest.threshold or 0.5 for manifest in manifests})),
            hints=hints() if self._settings.precision == "auto" else ("f32",),
            keep=self._settings.gate_dir.absolute() if self._settings.gate_dir else None,
        )

    async def _report(self, question: Question) -> Report:
        """What was found before, or what a process of its own finds now. Raises RuntimeError where that failed."""
        kept = await asyncio.to_thread(find_report, question)
        if kept is not None:
            return kept
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "core.runtime.openvino.gate"),
            cwd=_ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_GATE_LIMIT_S):
                found, said = await process.communicate(question.model_dump_json().encode())
        except TimeoutError as error:
            raise RuntimeError("measuring took too long") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            lines = said.decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"measuring failed with {process.returncode}. {lines[-1][:200] if lines else ''}")
        if question.keep is not None and await asyncio.to_thread(find_report, question) is None:
            logger.warning("what the gate found cannot be kept", folder=str(question.keep))
        return Report.model_validate_json(found)

    def _tell(self, model: str, serving: BundleFile, choice: Choice) -> None:
        gauge = self._registry.metrics.provider_cpu_seconds
        for candidate, verdict in choice.verdicts:
            variant = f"{candidate.file.variant}-{candidate.trial.hint}"
            gauge.labels(model, OPENVINO, variant, verdict).set(candidate.trial.cpu_ms / 1000)
        if choice.cpu_ms is not None:
            verdict = "serves" if choice.candidate is None else "slower"
            gauge.labels(model, CPU, serving.variant, verdict).set(choice.cpu_ms / 1000)
        logger.info("provider chosen", model=model, reason=choice.reason)


def open_checked(served: ServedModel, chosen: Candidate) -> OrtSession:
    """What was chosen, opened and compared with the CPU provider before it serves. Blocks.

    Raises BundleCorrupt, ProviderMissing.
    """
    file, hint = chosen.file, chosen.trial.hint
    path = served.bundle.file_path(file)
    session = OrtSession(path, hint=hint)
    reference = served.session if file == served.file else OrtSession(path, force_cpu=True)
    slices = [draw_slice(n, session.inputs[0].shape[1] or 1, served.bundle.manifest.image_size) for n in range(3)]
    difference = find_difference(session, reference, slices, exact=hint == "f32" and file.variant == "reference")
    if difference:
        raise BundleCorrupt(f"opened anew, {difference}")
    return session
