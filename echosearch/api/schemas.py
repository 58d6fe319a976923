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
from echosearch.api.purging import PurgePlan, PurgeReceipt
from echosearch.api.reembedding import ReembedReport
from echosearch.api.tasks import TaskCheck, TaskDetails, TaskImport, TaskList
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
from echosearch.encoders import PresetStatus
from echosearch.index import CheckReport
from echosearch.ingest import AnnotateReport, Compaction, Deletion, ExportReport, ImportReport, Undeletion
from echosearch.learning import CalibrationDetails, NewCalibration, NewProbe, ProbeDetails, SweepAnswer
from echosearch.phantom import Archive
from echosearch.search import SearchResult
from echosearch.types import BESIDE, Failure, IngestReport, VideoRecord

ANSWERS: Final[dict[str, Any]] = {
    "annotate": AnnotateReport,
    "calibrate": NewCalibration,
    "calibrations list": list[CalibrationDetails],
    "calibrations show": CalibrationDetails,
    "check": CheckReport,
    "cohort create": Cohort,
    "cohort diff": Difference,
    "cohort export": ExportedCohort | ExportedList,
    "cohort judge": JudgedAudit,
    "cohort list": list[CohortManifest],
    "cohort rerun": RerunAnswer,
    "cohort show": AuditedCohort,
    "compact": Compaction,
    "delete": Deletion | PurgePlan | PurgeReceipt,
    "evaluate": EvaluationAnswer | RetrievalAnswer,
    "export-embeddings": ExportReport,
    "failures": list[Failure],
    "import-embeddings": ImportReport,
    "info": IndexInfo,
    "ingest": IngestReport,
    "list": list[VideoRecord],
    "models": list[PresetStatus],
    "phantom make": Archive,
    "probe list": list[ProbeDetails],
    "probe show": ProbeDetails,
    "probe train": NewProbe,
    "reembed": ReembedReport,
    "search": SearchResult,
    "show": VideoDetails,
    "similar": SearchResult,
    "sweep": list[SweepAnswer],
    "tasks import": TaskImport,
    "tasks list": TaskList,
    "tasks show": TaskDetails,
    "tasks validate": list[TaskCheck],
    "undelete": Undeletion,
}
"""Command -> the type of what it prints with --json; Python gives the same."""


def file_name(command: str) -> str:
    """Where the schema of a command's answer lies in `tests/schemas`."""
    return f"{command.replace(' ', '-')}.json"


@cache
def schema(command: str) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a command's answer: every field is there, and no other."""
    around = create_model("Around", __config__=ConfigDict(extra="forbid"), answer=(ANSWERS[command], ...))
    whole = _without_words(around.model_json_schema(mode="serialization", schema_generator=_Flat))
    own: dict[str, Any] = whole["properties"]["answer"]
    return (
        {"$schema": GenerateJsonSchema.schema_dialect} | own | ({"$defs": whole["$defs"]} if "$defs" in whole else {})
    )


class _Flat(GenerateJsonSchema):
    """Puts the fields of a dataclass that stands in a field marked BESIDE where `plain` puts them."""

    def field_is_required(
        self, field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField, total: bool
    ) -> bool:
        """Every field of an answer is there; only a TypedDict may leave some out."""
        return bool(field.get("required", total)) if field["type"] == "typed-dict-field" else True

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
