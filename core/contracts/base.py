"""What every type that crosses a wire shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

DISCLAIMER = "Research use only. Not a medical device."


class Contract(BaseModel):
    """Immutable and closed: an unknown field is an error, so a typo never passes silently."""

    # What has a default may be left out of a request, and is always there in an answer: schemas say both.
    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)


def may_lack(*names: str) -> Callable[[dict[str, Any]], None]:
    """For ``json_schema_extra``: fields that are left out of an answer where they would be null."""

    def mark(schema: dict[str, Any]) -> None:
        schema["required"] = [name for name in schema.get("required", ()) if name not in names]

    return mark


class DescribedAs:
    """For ``Annotated``: what is read as plain JSON is described to callers as ``model`` (``core.http.openapi``)."""

    METADATA = "falx_described_as"

    def __init__(self, model: type[Contract]) -> None:
        self._model = model

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Called by the framework."""
        schema: dict[str, Any] = {**handler(source)}
        schema["metadata"] = {**schema.get("metadata", {}), self.METADATA: self._model}
        return cast("CoreSchema", schema)
