"""`python -m bench`: starts real servers on loopback, measures, prints one table."""

import tempfile
from pathlib import Path

from bench import insert_to_stream, page_load
from bench.figures import Figure, table


def main() -> None:
    figures: list[Figure] = []
    for measure in (insert_to_stream.measure, page_load.measure):
        with tempfile.TemporaryDirectory(prefix="beacon-bench-") as folder:
            figures += measure(Path(folder))
    print(table(figures))


main()
