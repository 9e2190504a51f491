"""Fills the form of a finished page with what somebody had typed into it. Pure.

It works on the HTML, so that no template needs to know about it. Only controls that a person fills in are changed:
hidden fields keep what the page says now, and passwords are never filled in.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from html.parser import HTMLParser
from urllib.parse import urlsplit

from typing_extensions import override

Attributes = Mapping[str, str | None]

SKIPPED_TYPES = frozenset({"hidden", "password", "file", "submit", "button", "image", "reset"})


@dataclass(slots=True)
class Control:
    """An input, an option of a select or a textarea. `start` and `end`: its tag, or the text of a textarea."""

    name: str
    kind: str
    attributes: Attributes
    start: int
    end: int


@dataclass(slots=True)
class Form:
    """A form, and the controls within it or assigned to it by `form=`."""

    method: str
    path: str
    controls: list[Control] = field(default_factory=list)

    def count_matches(self, typed: Mapping[str, Sequence[str]]) -> int:
        """How many fixed fields have the submitted values: rows of a list have one form each."""
        fixed = (one for one in self.controls if one.kind == "hidden")
        return sum(one.attributes.get("value") in typed.get(one.name, ()) for one in fixed)


@dataclass(frozen=True, slots=True)
class FilledPage:
    """`place`: the id of the first control that was filled in, if it has one."""

    html: str
    place: str


def fill_form(html: str, path: str, typed: Mapping[str, Sequence[str]], *, has_ticks: bool = True) -> FilledPage | None:
    """The page with the form that is posted to `path` filled in; None if it has no such form with a field of `typed`.

    Without `has_ticks` checkboxes stay as they are.
    """
    forms = [form for form in _find_forms(html) if (form.method, form.path) == ("post", path)]
    if not forms:
        return None
    form = max(forms, key=lambda one: one.count_matches(typed))
    wanted = [
        one
        for one in form.controls
        if one.kind not in SKIPPED_TYPES and "disabled" not in one.attributes and (has_ticks or one.kind != "checkbox")
    ]
    filled = [one for one in wanted if one.name in typed]
    if not filled:
        return None
    place = next((found for one in filled if (found := one.attributes.get("id"))), "")
    return FilledPage(_replace(html, _edits(wanted, typed)), place)


def _edits(controls: Sequence[Control], typed: Mapping[str, Sequence[str]]) -> Iterator[tuple[int, int, str]]:
    """Fields that share a name take its values in order. A checkbox that was not submitted was not ticked."""
    remaining = {name: list(values) for name, values in typed.items()}
    for one in controls:
        values = remaining.get(one.name, [])
        if one.kind in ("checkbox", "radio", "option"):
            own = one.attributes.get("value") or ("on" if one.kind != "option" else "")
            word = "selected" if one.kind == "option" else "checked"
            if one.name in typed or one.kind == "checkbox":
                yield one.start, one.end, _write_tag(one, {word: None} if own in values else {}, without=word)
        elif values:
            value = values.pop(0)
            text = f"\n{escape(value)}" if one.kind == "textarea" else _write_tag(one, {"value": value}, "value")
            yield one.start, one.end, text


def _write_tag(control: Control, added: Attributes, without: str) -> str:
    attributes = {name: value for name, value in control.attributes.items() if name != without} | dict(added)
    words = (name if value is None else f'{name}="{escape(value)}"' for name, value in attributes.items())
    return f"<{' '.join(('option' if control.kind == 'option' else 'input', *words))}>"


def _replace(html: str, edits: Iterator[tuple[int, int, str]]) -> str:
    parts, at = [], 0
    for start, end, text in sorted(edits):
        parts += [html[at:start], text]
        at = end
    return "".join((*parts, html[at:]))


def _find_forms(html: str) -> list[Form]:
    finder = _FormFinder(html)
    finder.feed(html)
    finder.close()
    forms = finder.forms
    for owner, control in finder.controls:
        if owner is not None and owner in forms:
            forms[owner].controls.append(control)
    return list(forms.values())


class _FormFinder(HTMLParser):
    """Collects forms by their id, or by a number, and the controls with the form that owns each."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: dict[str, Form] = {}
        self.controls: list[tuple[str | None, Control]] = []
        self._line_starts = [0]
        for line in html.split("\n"):
            self._line_starts.append(self._line_starts[-1] + len(line) + 1)
        self._form: str | None = None
        self._select: Attributes = {}
        self._textarea: tuple[Attributes, int] | None = None

    @property
    def _offset(self) -> int:
        line, column = self.getpos()
        return self._line_starts[line - 1] + column

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        end = self._offset + len(self.get_starttag_text() or "")
        if tag == "form":
            self._form = attributes.get("id") or f"#{len(self.forms)}"
            self.forms[self._form] = Form(
                (attributes.get("method") or "get").lower(), urlsplit(attributes.get("action") or "").path
            )
        elif tag == "select":
            self._select = attributes
        elif tag == "textarea":
            self._textarea = attributes, end
        elif tag == "input":
            self._add((attributes.get("type") or "text").lower(), attributes, attributes, end)
        elif tag == "option" and self._select:
            self._add("option", attributes, self._select, end)

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "select":
            self._select = {}
        elif tag == "textarea" and self._textarea is not None:
            attributes, start = self._textarea
            owner = attributes.get("form") or self._form
            self.controls.append(
                (owner, Control(attributes.get("name") or "", "textarea", attributes, start, self._offset))
            )
            self._textarea = None

    def _add(self, kind: str, attributes: Attributes, named: Attributes, end: int) -> None:
        owner = named.get("form") or self._form
        self.controls.append((owner, Control(named.get("name") or "", kind, attributes, self._offset, end)))
