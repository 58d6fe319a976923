"""The answer of every command that has --json, and the JSON schema of each, made from the types themselves.

It imports every room and pydantic, so only tests, documentation and servers import it. The schemas lie in
`tests/schemas`, one file a command; a test keeps them in step and holds what the commands print against them.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any, Final

from pydantic import ConfigDict, create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from echosearch.api.answers import IndexInfo, VideoDetails
from echosearch.api.evaluations import EvaluationAnswer, RetrievalAnswer
from echosearch.cohort import (
    AuditedCohort,
    Cohort,
    CohortManifest,
    Difference,
    ExportedCohort,
    ExportedList,
    JudgedAudit,
    RerunAnswer,
)
from echosearch.learning import CalibrationDetails, NewCalibration, NewProbe, ProbeDetails, SweepAnswer
from echosearch.search import SearchResult
from echosearch.types import BESIDE, Failure, IngestReport, VideoRecord

ANSWERS: Final[dict[str, Any]] = {
    "calibrate": NewCalibration,
    "calibrations list": list[CalibrationDetails],
    "calibrations show": CalibrationDetails,
    "cohort create": Cohort,
    "cohort diff": Difference,
    "cohort export": ExportedCohort | ExportedList,
    "cohort judge": JudgedAudit,
    "cohort list": list[CohortManifest],
    "cohort rerun": RerunAnswer,
    "cohort show": AuditedCohort,
    "evaluate": EvaluationAnswer | RetrievalAnswer,
    "failures": list[Failure],
    "info": IndexInfo,
    "ingest": IngestReport,
    "list": list[VideoRecord],
    "probe list": list[ProbeDetails],
    "probe show": ProbeDetails,
    "probe train": NewProbe,
    "search": SearchResult,
    "show": VideoDetails,
    "similar": SearchResult,
    "sweep": list[SweepAnswer],
}
"""Command -> the type of what it prints with --json; Python gives the same."""


def file_name(command: str) -> str:
    """Where the schema of a command's answer lies in `tests/schemas`."""
    return f"{command.replace(' ', '-')}.json"


@cache
def schema(command: str) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a command's answer: every field is there, and no other."""
    config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)
    around = create_model("Around", __config__=config, answer=(ANSWERS[command], ...))
    whole = _without_words(around.model_json_schema(mode="serialization", schema_generator=_Flat))
    own: dict[str, Any] = whole["properties"]["answer"]
    return (
        {"$schema": GenerateJsonSchema.schema_dialect} | own | ({"$defs": whole["$defs"]} if "$defs" in whole else {})
    )


class _Flat(GenerateJsonSchema):
    """Puts the fields of a dataclass that stands in a field marked BESIDE where `plain` puts them."""

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        """The schema of one dataclass."""
        made = super().dataclass_schema(schema)
        properties: dict[str, Any] = {}
        required: dict[str, None] = {}
        for field in fields(schema["cls"]):
            its = made["properties"][field.name]
            own: dict[str, Any] = {"properties": {field.name: its}, "required": [field.name]}
            whole: dict[str, Any] = self.resolve_ref_schema(its) if field.metadata == BESIDE else own
            properties |= whole["properties"]
            required |= dict.fromkeys(whole.get("required", ()))
        return made | {"properties": properties, "required": list(required), "additionalProperties": False}


def _without_words(schema: Any) -> Any:
    """Without titles and docstrings, which are for those who read the code."""
    if isinstance(schema, list):
        return [_without_words(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _without_words(its) for name, its in value.items()} if key in _NAMED else _without_words(value)
        for key, value in schema.items()
        if key not in ("title", "description")
    }


_NAMED: Final = ("properties", "$defs")
"""Where keys are names, and no words of the schema's language."""
