"""Metadata of instances in DICOM JSON, as DICOMweb gives them, as data sets without pixels."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any, Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from core.errors import InputTooLarge, InvalidRequest
from core.imaging.dicom.file import TAGS
from core.imaging.dicom.series import KEYWORDS

MOST_INSTANCES: Final = 20_000
"""As many as files in a zip."""

_WANTED: Final = frozenset(f"{tag_for_keyword(keyword):08X}" for keyword in (*TAGS, *KEYWORDS)) - {"7FE00010"}


def read_metadata(data: bytes) -> list[Dataset]:
    """The data sets in a JSON list, reduced to the elements that are read of files.

    Raises ``InvalidRequest`` for what is no such list, ``InputTooLarge`` for more than ``MOST_INSTANCES``.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("The body is not JSON.") from error
    if not isinstance(document, list) or not document or not all(isinstance(one, dict) for one in document):
        raise InvalidRequest("The JSON is no list of instances' metadata: [{tag: element, ...}, ...].")
    if len(document) > MOST_INSTANCES:
        raise InputTooLarge(f"The list holds {len(document)} instances, the limit is {MOST_INSTANCES}.")
    with warnings.catch_warnings():
        # pydicom remarks on values that stand elsewhere; none of those is read.
        warnings.simplefilter("ignore")
        return [_data_set(index, one) for index, one in enumerate(document)]


def _data_set(index: int, instance: dict[str, Any]) -> Dataset:
    try:
        return Dataset.from_json(dict(_elements(instance)))
    except Exception as error:
        raise InvalidRequest(f"Instance {index} of the list is not in the DICOM JSON model.") from error


def _elements(instance: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for tag, element in instance.items():
        # What stands elsewhere (BulkDataURI) or inline as bytes is no element that is read.
        if tag.upper() in _WANTED and isinstance(element, dict) and "Value" in element:
            yield tag.upper(), element
