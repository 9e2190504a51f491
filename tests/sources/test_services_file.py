"""The services file: what a right one gives, and where a wrong one says what is wrong."""

from pathlib import Path

import pytest

from app.config import ConfigError
from app.sources.palantir.palantir_source import PalantirOptions
from app.sources.toml_file import parse_services, read_services_file

GOOD = """
# two of them
[[service]]
id = "mail"
name = "Mail"
url = "http://127.0.0.1:9001/"

[[service]]
id = "billing"
url = "https://billing.example/base"
finished_visible_for_s = 600
"""


def test_every_service_of_the_file_is_read_in_order() -> None:
    mail, billing = parse_services(GOOD)
    assert (mail.id, mail.name, mail.kind, mail.url) == ("mail", "Mail", "palantir", "http://127.0.0.1:9001")
    assert mail.options == PalantirOptions(finished_visible_for_s="lookup")
    assert (billing.url, billing.options) == (
        "https://billing.example/base",
        PalantirOptions(finished_visible_for_s=600),
    )


def test_an_empty_file_names_no_service() -> None:
    assert parse_services("") == []


WRONG = [
    ('[[service]]\nid = "a\n', "not TOML: Illegal character '\\n' (at line 2, column 8)"),
    ('[[service]]\nid = "a"\n', "line 1, service[0].url: is missing"),
    ('[[service]]\nurl = "http://a"\n', "line 1, service[0].id: is missing"),
    ('[[service]]\nid = "A b"\nurl = "http://a"\n', "line 2, service[0].id: "),
    ('[[service]]\nid = "a"\n\nurl = "ftp://a"\n', "line 4, service[0].url: expected an address like http://host"),
    ('[[service]]\nid = "a"\nurl = "http://u:p@a"\n', "line 3, service[0].url: expected an address without a user"),
    (
        '[[service]]\nid = "a"\nurl = "http://a"\nport = 1\n',
        "line 4, service[0].port: unknown key; expected one of id,",
    ),
    ('[[service]]\nid = "a"\nurl = "http://a"\nkind = "x"\n', "line 4, service[0].kind: "),
    ('[[service]]\nid = "a"\nurl = "http://a"\nfinished_visible_for_s = 0\n', "line 4, service[0].finished_visible"),
    ('[[service]]\nid = "a"\nurl = "http://a"\nfinished_visible_for_s = inf\n', "line 4, service[0].finished_visible"),
    (GOOD + '[[service]]\nid = "mail"\nurl = "http://a"\n', "line 13, service[2].id: mail is used twice"),
    ('[service]\nid = "a"\n', "service: expected [[service]] with double brackets"),
    ('[[services]]\nid = "a"\n', "services: unknown; expected only [[service]] tables"),
    ("service = [1]\n", "service[0].service: "),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_wrong_file_names_line_key_and_expectation(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_services(text)
    assert str(caught.value).startswith(said), str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the services file .*nowhere\.toml: No such file"):
        read_services_file(tmp_path / "nowhere.toml")


def test_a_file_that_is_too_large_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "services.toml"
    path.write_bytes(b"x = 1\n" * 1_000_000)
    with pytest.raises(ConfigError, match=r"services\.toml is larger than 2 MiB"):
        read_services_file(path)


def test_the_file_is_named_beside_what_is_wrong_in_it(tmp_path: Path) -> None:
    path = tmp_path / "services.toml"
    path.write_text("[[service]]\n")
    with pytest.raises(ConfigError, match=r"services\.toml: line 1, service\[0\]\.id: is missing"):
        read_services_file(path)
