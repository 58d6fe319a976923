"""JSON text as the frozen type that it belongs to, or what is wrong with it and where. Knows no file and no such type.

By pydantic in strict mode: neither text nor yes is a number, 1.0 is no whole number, and a key that the type does not
have is refused. It is imported when something is read, as that costs a tenth of a second.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from functools import cache
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Any, TypeVar, cast

from echosearch.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

T = TypeVar("T")


def from_json(kind: type[T], text: str, format: Mapping[str, int] | None = None) -> T:
    """A dataclass from the JSON object of its fields; `format` has the key and number of its format, if it has one.

    ValueError says what is wrong, also where the type itself refuses its values.
    """
    from pydantic import ValidationError

    try:
        told = json.loads(text)
        for key, known in (format or {}).items() if isinstance(told, dict) else ():
            if told.pop(key, known) != known:
                raise ValueError("it has a newer format")
        read: Any = _reader(cast(Hashable, kind)).model_validate_json(json.dumps({"told": told}))
    except ValidationError as error:
        raise ValueError(_sentence(error.errors(include_url=False)[0])) from error
    except (InputError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return cast(T, read.told)


@cache
def _reader(kind: Any) -> type[BaseModel]:
    """A model with one field: a dataclass, and those within it, take over the settings of what is around them."""
    from pydantic import ConfigDict, create_model

    return create_model("Told", __config__=ConfigDict(strict=True, extra="forbid"), told=(kind, ...))


def _sentence(error: ErrorDetails) -> str:
    where = ".".join(map(str, error["loc"][1:])) or "it"
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}"
    said = error["msg"]
    if not said.startswith("Input "):
        return f"{where}: {said.lower()}"
    return f"{said.replace('Input', where, 1)}, not {shortened(error['input'])}"
