"""What is typed becomes words; no sign of it becomes syntax."""

import sqlite3

import pytest

from app.search.search_terms import MAX_WORDS, SearchTerms

HOSTILE = (
    '"', '""" OR *', "NEAR(a b)", "message:x", "a AND OR NOT b", "^a", "{a}", "a*", "' & !x", "\\", ":*", "a:* | 'b",
    "-", "!!!", "<b>", "\u202ea", "é ü", "\N{PILE OF POO}", "a\ud800b", "x\0y", "(", "%_", "'; DROP TABLE x; --",
)  # fmt: skip


def test_words_are_split_at_blanks_and_tokens_at_every_other_sign() -> None:
    terms = SearchTerms.parse("  shop.mail_send  order-4711 order ")
    assert terms.words == ("shop.mail_send", "order-4711", "order")
    assert terms.tokens == ("shop", "mail", "send", "order", "4711")


def test_whole_words_and_beginnings_are_queries_for_both_databases() -> None:
    terms = SearchTerms.parse("SMTP no")
    assert terms.to_fts5(prefixes=False) == '"SMTP" AND "no"'
    assert terms.to_fts5(prefixes=True) == '"SMTP"* AND "no"'  # two letters are no beginning
    assert terms.to_tsquery(prefixes=True) == "'SMTP':* & 'no'"


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_is_typed_is_syntax(text: str) -> None:
    terms = SearchTerms.parse(text)
    if not terms.tokens:
        return
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE VIRTUAL TABLE t USING fts5(m, content='', tokenize='ascii', detail='none')")
        connection.execute("INSERT INTO t (m) VALUES (?)", (terms.text,))
        for prefixes in (False, True):
            found = connection.execute("SELECT rowid FROM t WHERE t MATCH ?", (terms.to_fts5(prefixes=prefixes),))
            assert found.fetchall() == [(1,)], "the text finds itself"
    connection.close()


def test_many_words_are_cut() -> None:
    assert len(SearchTerms.parse("a1 " * 50 + "b").words) == MAX_WORDS


@pytest.mark.parametrize(
    ("text", "may_be", "looks_like"),
    [
        ("7f3a91c2", True, True),
        ("nightly-report", True, False),
        ("order 4711", False, False),
        ("x" * 1_001, False, False),
        ("\u202e7", False, False),
        ("", False, False),
    ],
)
def test_one_word_may_be_an_id_and_with_a_digit_it_looks_like_one(text: str, may_be: bool, looks_like: bool) -> None:
    terms = SearchTerms.parse(text)
    assert (terms.may_be_id, terms.looks_like_id) == (may_be, looks_like)


def test_each_word_must_be_in_some_text_in_whatever_case() -> None:
    terms = SearchTerms.parse("MAIL send")
    assert terms.is_in("shop.mail", "send")
    assert not terms.is_in("shop.mail", None)
    assert not SearchTerms.parse("").is_in("anything")


def test_only_a_whole_id_may_have_blanks() -> None:
    terms = SearchTerms.parse("nightly report 7")
    assert (terms.may_be_whole_id, terms.may_be_id, terms.may_be_prefix) == (True, False, False)
    assert not SearchTerms.parse("a\nb").may_be_whole_id
