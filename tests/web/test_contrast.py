"""The contrast table of the design, computed from the tokens: a new colour without a passing pair fails."""

import re
from pathlib import Path

import pytest

CSS = Path(__file__).resolve().parents[2] / "static" / "css"
TOKENS = (CSS / "tokens.css").read_text()

STATES = ("emerald", "amber", "sky", "rose", "grey")

# (foreground, background, least ratio)
PAIRS = [
    *[("ink", plane, 12.0) for plane in ("page", "surface", "sunken")],
    *[("muted", plane, 6.0) for plane in ("page", "surface", "sunken")],
    *[(state, f"{state}-bg", 5.7) for state in STATES],
    *[(state, plane, 5.7) for state in STATES for plane in ("page", "surface")],
    *[("ink", f"{state}-bg", 12.0) for state in STATES],
    *[("control", plane, 3.2) for plane in ("page", "surface")],
    *[("accent", plane, 3.2) for plane in ("page", "surface", "sunken")],
    ("on-accent", "accent", 4.7),
    ("on-danger", "danger", 4.7),
    ("on-prod", "prod", 4.7),
]
THEMES = ("light", "dark")
NOT_TEXT = {"line"}  # separation only; whatever one can act on has an edge in `control`


def colours() -> dict[str, tuple[str, str]]:
    """Each colour token as (light, dark)."""
    pairs = re.findall(r"--([\w-]+):\s*light-dark\((#\w{6}), (#\w{6})\)", TOKENS)
    single = re.findall(r"--([\w-]+):\s*(#\w{6});", TOKENS.split("@supports")[0])
    return {name: (light, dark) for name, light, dark in pairs} | {name: (one, one) for name, one in single}


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(("front", "back", "least"), PAIRS)
def test_the_pair_is_readable(front: str, back: str, least: float, theme: str) -> None:
    place = THEMES.index(theme)
    ratio = contrast(colours()[front][place], colours()[back][place])
    assert ratio >= least, f"{front} on {back} in {theme}: {ratio:.2f}"


def test_beacons_own_connection_has_no_colour_of_a_service() -> None:
    rules = re.findall(r"^(\[data-state[^{]*)\{([^}]*)\}", TOKENS, re.MULTILINE)
    colours_of = {
        state: set(re.findall(r"var\(--(\w+)", body))
        for states, body in rules
        for state in re.findall(r"data-state=(\w+)", states)
    }
    of_services = colours_of["verified"] | colours_of["discrepancy"] | {"grey"}  # stale and unknown are grey
    for state in ("connected", "reconnecting", "polling", "offline"):
        assert not colours_of[state] & of_services, state


def test_every_colour_is_part_of_a_computed_pair() -> None:
    computed = {name for front, back, _ in PAIRS for name in (front, back)}
    assert set(colours()) - computed == NOT_TEXT


def test_an_old_browser_gets_the_light_column() -> None:
    fallback = dict(re.findall(r"--([\w-]+): (#\w{6});", TOKENS.split("@supports")[1]))
    themed = re.findall(r"--([\w-]+):\s*light-dark", TOKENS)
    assert fallback == {name: colours()[name][0] for name in themed}


def test_the_formula_gives_the_known_extremes() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(
    "sheet", sorted(path.relative_to(CSS).as_posix() for path in CSS.rglob("*.css") if path.name != "tokens.css")
)
def test_a_feature_names_no_colour_and_no_pixel_of_its_own(sheet: str) -> None:
    rules = re.sub(r"/\*.*?\*/", "", (CSS / sheet).read_text(), flags=re.DOTALL)
    values = " ".join(re.findall(r":([^;{}]+);", rules))
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b|\b(?:rgb|hsl|oklch)a?\(", values)
    assert not re.search(r"\b[1-9][\d.]*px\b", rules)


@pytest.mark.parametrize("sheet", sorted(path.relative_to(CSS).as_posix() for path in CSS.rglob("*.css")))
def test_every_token_that_is_used_exists(sheet: str) -> None:
    defined = set(re.findall(r"--([\w-]+):", TOKENS))
    assert set(re.findall(r"var\(--([\w-]+)\)", (CSS / sheet).read_text())) <= defined
