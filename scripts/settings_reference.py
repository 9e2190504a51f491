"""`python -m scripts.settings_reference`: writes docs/configuration.md from the descriptions of the settings."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import annotated_types
from pydantic.fields import FieldInfo

from app.config import SECRET_SETTINGS, Settings

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
HEAD = """# Configuration

Beacon reads its settings from environment variables, once, when it starts. A value that cannot be used stops it with a
sentence that names the variable. `beacon doctor` lists the values in force.

A secret can also come from a file, as containers and systemd pass it: {secrets} name the file whose text is the value.

Made by `.venv/bin/python -m scripts.settings_reference` from the descriptions in `app/config.py`; a test compares them.

| variable | default | allowed | meaning |
|---|---|---|---|
"""


def main() -> None:
    REFERENCE.write_text(render())


def render() -> str:
    files = ", ".join(f"`BEACON_{name.upper()}_FILE`" for name in sorted(SECRET_SETTINGS))
    return HEAD.format(secrets=files) + "".join(f"{row}\n" for row in _rows())


def _rows() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        variable = "BEACON_FLAG_<NAME>" if name == "flag_overrides" else f"BEACON_{name.upper()}"
        meaning = " ".join((field.description or "").split())
        yield f"| `{variable}` | {_default(field)} | {_allowed(field)} | {meaning} |"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, tuple):
        value = ", ".join(value)
    return "none" if value in (None, "", {}) else f"`{value}`"


def _allowed(field: FieldInfo) -> str:
    """What the type and its bounds allow, in words."""
    choices = [str(one) for one in get_args(field.annotation) if isinstance(one, str)]
    if choices:
        return ", ".join(f"`{one}`" for one in choices)
    said = []
    for bound in field.metadata:
        if isinstance(bound, annotated_types.Gt):
            said.append(f"above {bound.gt:,}")
        elif isinstance(bound, annotated_types.Ge):
            said.append(f"from {bound.ge:,}")
        elif isinstance(bound, annotated_types.Le):
            said.append(f"to {bound.le:,}")
    return " ".join(said)


if __name__ == "__main__":
    main()
