"""The errors of a source, whose reasons pages show."""


class SourceError(Exception):
    """The source could not be read. Pages show `reason` after "the service …"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotSent(SourceError):
    """Nothing was sent: there was no connection, or the deadline passed before the first byte."""


class Unsupported(SourceError):
    """The service answers, but does not provide this information about its jobs. Retrying does not help."""


class OutcomeUnknown(SourceError):
    """A command was sent and got no answer. Only `resolve_outcome` can find out whether it was executed."""
