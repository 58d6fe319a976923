"""Write the JSON schema of every command's answer into tests/schemas, made from the types; a test compares them."""

from __future__ import annotations

import json
from pathlib import Path

from echosearch.api.schemas import ANSWERS, file_name, schema

SCHEMAS = Path(__file__).resolve().parent.parent / "tests" / "schemas"


def main() -> None:
    """See the module."""
    SCHEMAS.mkdir(exist_ok=True)
    for old in SCHEMAS.glob("*.json"):
        old.unlink()
    for command in ANSWERS:
        (SCHEMAS / file_name(command)).write_text(json.dumps(schema(command), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
