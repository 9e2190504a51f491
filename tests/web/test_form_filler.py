"""What somebody had typed is put back into the form of a page, and nothing else on the page changes."""

import pytest

from app.web.form_filler import fill_form

PAGE = """<form method="post" action="/other"><input name="reason"></form>
<form action="/do"><input name="reason"></form>
<form method="post" action="/do?x=1#there" id="f">
<input type="hidden" name="seen" value="now"><input type="password" name="secret">
<input id="why" name="reason" required>
<textarea name="note" rows="3">old</textarea>
<select name="for"><option value="1">One<option value="2" selected>Two</select>
<input type="checkbox" name="ids" value="a" checked><input type="checkbox" name="ids" value="b">
<input name="step"><input name="step" value="9"><input name="shut" disabled>
</form><p><input type="radio" name="way" value="up" form="f">
<input type="radio" name="way" value="down" form="f" checked></p>"""


def filled(**typed: str | list[str]) -> str:
    found = fill_form(
        PAGE, "/do", {name: [value] if isinstance(value, str) else value for name, value in typed.items()}
    )
    assert found is not None
    return found.html


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ({"reason": 'a "b" <c>'}, '<input id="why" name="reason" required value="a &quot;b&quot; &lt;c&gt;">'),
        ({"note": "</textarea><b>"}, "\n&lt;/textarea&gt;&lt;b&gt;</textarea>"),
        ({"for": "1"}, '<option value="1" selected>One<option value="2">Two'),
        ({"ids": ["b"]}, 'name="ids" value="a"><input type="checkbox" name="ids" value="b" checked>'),
        ({"step": ["1", "2"]}, '<input name="step" value="1"><input name="step" value="2">'),
        ({"way": "up"}, '<input type="radio" name="way" value="up" form="f" checked>'),
    ],
)  # fmt: skip
def test_each_kind_of_field_has_what_was_typed(typed: dict[str, str | list[str]], shown: str) -> None:
    assert shown in filled(**typed)


def test_hidden_fields_passwords_disabled_fields_and_other_forms_stay_as_they_are() -> None:
    html = filled(reason="x", seen="before", secret="hunter2", shut="x", step=["", "9"])
    for part in (
        '<form method="post" action="/other"><input name="reason">',
        '<form action="/do"><input name="reason">',
        '<input type="hidden" name="seen" value="now"><input type="password" name="secret">',
        '<input name="shut" disabled>',
    ):
        assert part in html


def test_a_box_that_was_not_ticked_is_not_ticked_unless_ticks_are_unknown() -> None:
    assert 'value="a" checked' not in filled(reason="x")
    found = fill_form(PAGE, "/do", {"reason": ["x"]}, has_ticks=False)
    assert found is not None
    assert 'value="a" checked' in found.html
    assert found.place == "why"


def test_of_many_forms_the_one_with_the_same_hidden_fields_is_filled() -> None:
    rows = "".join(
        f'<form method="post" action="/mute"><input type="hidden" name="id" value="{n}"><input name="m"></form>'
        for n in "ab"
    )
    found = fill_form(rows, "/mute", {"id": ["b"], "m": ["7"]})
    assert found is not None
    assert found.html.index('value="7"') > found.html.index('value="b"')


def test_a_page_without_the_form_or_its_fields_has_nothing_to_fill() -> None:
    assert fill_form(PAGE, "/elsewhere", {"reason": ["x"]}) is None
    assert fill_form(PAGE, "/do", {"gone": ["x"]}) is None
