"""A traceback opens with the team's own frames; runs of library frames are folded, and no line is lost."""

import pytest

from app.web.jobs.traceback_blocks import fold_traceback

HEAD = "Traceback (most recent call last):\n"
OWN = '  File "/srv/shop/mail/tasks.py", line 41, in send\n    deliver(order)\n'
LIBRARY = '  File "/usr/lib/python3.12/smtplib.py", line 405, in getreply\n    raise Lost\n'
END = "smtplib.Lost: Connection\nunexpectedly closed\n"
CHAIN = "\nDuring handling of the above exception, another exception occurred:\n\n"


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        (HEAD + OWN + LIBRARY + LIBRARY + END, [0, 2, 0]),
        (HEAD + LIBRARY + OWN + LIBRARY + OWN + END, [0, 1, 0, 1, 0]),
        (HEAD + OWN + OWN + END, [0]),
        (HEAD + OWN + END + CHAIN + HEAD + LIBRARY + END, [0, 1, 0]),
        ("Work-horse terminated unexpectedly", [0]),
        (LIBRARY, [1]),
        ("", []),
    ],
)
def test_runs_of_library_frames_are_folded(text: str, frames: list[int]) -> None:
    blocks = fold_traceback(text)
    assert [block.frames for block in blocks] == frames
    assert "".join(block.text for block in blocks) == text
