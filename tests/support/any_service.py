"""A service for tests that need one of any kind: nothing answers at its address."""

from urllib.parse import urlsplit

from app.sources import kinds

ANY_KIND = kinds.DEFAULT_KIND
NOWHERE = urlsplit(kinds.get_kind(ANY_KIND).url_example)._replace(netloc="127.0.0.1:1").geturl()
