"""What the demo's job services show and how to break them; `beacon demo` writes it down, the help page shows it."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel

FILE_NAME = "demo_services.json"


class DemoService(BaseModel):
    """One service. `breaks` and `mends` are for people and end before the shell command that belongs to them.

    `kind`: None is the default kind of a service.
    """

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="forbid")

    id: str
    title: str
    url: str
    shows: str
    breaks: str
    break_command: str
    mends: str
    mend_command: str
    kind: str | None = None


_GUIDE = TypeAdapter(list[DemoService])


def parse_guide(text: str | bytes) -> Sequence[DemoService]:
    """Raises `ValueError`."""
    return _GUIDE.validate_json(text)


def read_guide(instance_dir: Path) -> Sequence[DemoService]:
    """Empty if this instance has never run the demo."""
    try:
        return parse_guide((instance_dir / FILE_NAME).read_bytes())
    except (OSError, ValueError):
        return ()


def write_guide(instance_dir: Path, services: Sequence[DemoService]) -> None:
    (instance_dir / FILE_NAME).write_bytes(_GUIDE.dump_json(list(services), by_alias=True, indent=1))
