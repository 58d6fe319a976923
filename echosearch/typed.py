"""JSON text as the frozen type that it belongs to, or what is wrong with it and where. Knows no file and no such type.

By pydantic in strict mode: neither text nor yes is a number, 1.0 is no whole number, and a key that the type does not
have is refused. It is imported when something is read, as that costs a tenth of a second.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from functools import cache
from reprlib import repr as shortened
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from echosearch.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

T = TypeVar("T")

_NEWER: Final = "it has a newer format"


def from_json(kind: type[T], text: str, format: Mapping[str, int] | None = None) -> T:
    """A dataclass from the JSON object of its fields; `format` has the key and number of its format, if no field does.

    ValueError says what is wrong, also where the type itself refuses its values.
    """
    from pydantic import ValidationError

    try:
        values = json.loads(text)
        for key, known in (format or {}).items() if isinstance(values, dict) else ():
            if values.pop(key, known) != known:
                raise ValueError(_NEWER)
        read: Any = _reader(cast(Hashable, kind)).model_validate_json(json.dumps({"value": values}))
    except ValidationError as error:
        raise ValueError(_sentence(error.errors(include_url=False)[0])) from error
    except (InputError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return cast(T, read.value)


@cache
def _reader(kind: Any) -> type[BaseModel]:
    """A model with one field: a dataclass, and those within it, take over the settings of what is around them."""
    from pydantic import ConfigDict, create_model

    return create_model("Around", __config__=ConfigDict(strict=True, extra="forbid"), value=(kind, ...))


def _sentence(error: ErrorDetails) -> str:
    where = ".".join(map(str, error["loc"][1:])) or "it"
    if error["type"] == "literal_error" and where.endswith("_format"):
        return _NEWER
    if error["type"] == "value_error":
        return f"{where}: {error['ctx']['error']}"
    message = error["msg"]
    if not message.startswith("Input "):
        return f"{where}: {message.lower()}"
    return f"{message.replace('Input', where, 1)}, not {shortened(error['input'])}"
