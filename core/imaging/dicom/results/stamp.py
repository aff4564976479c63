"""What tells one set of results from another, and makes a second attempt the same bytes: UIDs and times."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydicom.dataset import Dataset

from core.imaging.dicom.results.reference import Reference

# Grows with every change of what is written, so that another object never bears the UID of an older one.
_FORM: Final = 1
_NAMESPACE: Final = uuid.UUID("6f2f0a94-6f0c-5d0e-9c59-2d6a51fa1c1e")
_PREFIX: Final = "2.25."

MANUFACTURER: Final = "Falx"
RESEARCH: Final = "research use only"


@dataclass(frozen=True, slots=True)
class Device:
    """What made the results: ``version`` of Falx, and the model with the ``sha256`` of its weights."""

    version: str
    model: str
    model_version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """UIDs made of ``seed``, and ``created``, the time that all objects of the results bear, in UTC."""

    seed: str
    created: datetime
    device: Device

    @classmethod
    def of(cls, device: Device, sources: Sequence[Reference], content: str, created: datetime) -> Stamp:
        """The stamp of what ``device`` found in ``sources``; ``content`` is the digest of that."""
        instances = sorted({instance for source in sources for instance in source.instances})
        seed = json.dumps([_FORM, device.sha256, device.version, instances, content])
        return cls(hashlib.sha256(seed.encode()).hexdigest(), created.astimezone(UTC), device)

    def uid(self, what: str) -> str:
        """The UID of ``what``: 2.25 and a UUID of version 5 (PS3.5 B.2)."""
        return f"{_PREFIX}{uuid.uuid5(_NAMESPACE, f'{self.seed}/{what}').int}"

    @property
    def described(self) -> dict[str, Any]:
        """What highdicom is told of the equipment, and of the time of the series."""
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": f"{self.device.model} {self.device.model_version}"[:64],
            "software_versions": self.device.version,
            "device_serial_number": self.device.sha256,
            "instance_number": 1,
            "series_date": self.created.date(),
            "series_time": self.created.time(),
        }

    @property
    def series(self) -> dict[str, Any]:
        """The same for objects that have a time of their content too."""
        return {**self.described, "content_date": self.created.date(), "content_time": self.created.time()}

    def settle(self, result: Dataset, reference: Reference) -> None:
        """Put the time of the stamp in place of the clock's, and lend ``result`` the patient."""
        date, time = self.created.strftime("%Y%m%d"), self.created.strftime("%H%M%S.%f")
        result.InstanceCreationDate, result.InstanceCreationTime = date, time
        for equipment in result.get("ContributingEquipmentSequence") or []:
            if "ContributionDateTime" in equipment:
                equipment.ContributionDateTime = date + time
        reference.lend(result)

    @property
    def device_uid(self) -> str:
        """The same for all results of one model."""
        return f"{_PREFIX}{uuid.uuid5(_NAMESPACE, self.device.sha256).int}"
