"""What the jobs of the show are: functions, their arguments, and how they fail. Pure."""

import zlib
from dataclasses import dataclass

MAX_ATTEMPTS = 3
WORKERS = 4
ROOT = "/srv/shop"
LIBRARIES = "/usr/lib/python3.12"


@dataclass(frozen=True, slots=True)
class Place:
    """One frame of a traceback."""

    file: str
    line: int
    function: str
    source: str

    @property
    def text(self) -> str:
        return f'  File "{self.file}", line {self.line}, in {self.function}\n    {self.source}\n'

    @property
    def name(self) -> str:
        return f"{self.file.removeprefix(f'{ROOT}/')}:{self.line} in {self.function}"


@dataclass(frozen=True, slots=True)
class Failure:
    """One cause. The first place is in the team's own code, others may be in libraries."""

    type: str
    message: str
    places: tuple[Place, ...]

    @property
    def text(self) -> str:
        """As it is stored with a job."""
        return f"{self.type}: {self.message}"

    def to_json(self, function: str) -> dict[str, object]:
        traceback = "".join(place.text for place in (_begin(function), *self.places))
        return {
            "type": self.type,
            "message": self.message,
            "frame": self.places[0].name,
            "traceback": f"Traceback (most recent call last):\n{traceback}{self.text}\n",
        }


FUNCTIONS = {
    "mail": "mail.send",
    "reports": "reports.render",
    "billing": "billing.charge",
    "newsletter": "newsletter.send",
    "invoices": "invoice.render",
    "search": "search.index",
    "thumbnails": "images.resize",
    "exports": "exports.write",
}
DISCONNECTED = Failure(
    "smtplib.SMTPServerDisconnected",
    "Connection unexpectedly closed",
    (
        Place(f"{ROOT}/shop/mail/transport.py", 88, "deliver", "self.smtp.sendmail(sender, to, text)"),
        Place(f"{LIBRARIES}/smtplib.py", 405, "getreply", "raise SMTPServerDisconnected(...)"),
    ),
)
NO_VAT = Failure(
    "KeyError",
    "'vat_id'",
    (Place(f"{ROOT}/shop/invoices/render.py", 52, "head", "number = customer.facts['vat_id']"),),
)
FAILURES = {
    "mail": (
        DISCONNECTED,
        Failure(
            "shop.mail.MailboxFull",
            "The mailbox is full",
            (Place(f"{ROOT}/shop/mail/transport.py", 97, "deliver", "raise MailboxFull(answer)"),),
        ),
    ),
    "reports": (
        Failure(
            "TimeoutError",
            "The query was cancelled after 60 s",
            (Place(f"{ROOT}/shop/reports/queries.py", 31, "sales_by_day", "cursor.execute(QUERY, period)"),),
        ),
        Failure(
            "KeyError",
            "'quarter'",
            (Place(f"{ROOT}/shop/reports/render.py", 64, "fill", "template = TEMPLATES[period.kind]"),),
        ),
    ),
    "billing": (
        Failure(
            "shop.billing.CardDeclined",
            "The bank declined the card",
            (Place(f"{ROOT}/shop/billing/bank.py", 140, "charge", "raise CardDeclined(answer.reason)"),),
        ),
        Failure(
            "LookupError",
            "No exchange rate for today",
            (Place(f"{ROOT}/shop/billing/rates.py", 22, "rate_of", "return self.rates[currency, day]"),),
        ),
    ),
    "newsletter": (DISCONNECTED,),
    "invoices": (NO_VAT,),
    "exports": (
        Failure(
            "PermissionError",
            "[Errno 13] Permission denied: 'exports/orders.csv'",
            (Place(f"{ROOT}/shop/exports/files.py", 18, "write", "with open(path, 'w') as file:"),),
        ),
    ),
}
_BY_TEXT = {failure.text: failure for failures in FAILURES.values() for failure in failures}


def function_of(queue: str) -> str:
    return FUNCTIONS.get(queue, f"{queue}.run")


def arguments_of(job_id: str) -> dict[str, object]:
    """The same for a job each time it is asked."""
    number = zlib.crc32(job_id.encode(errors="replace"))
    return {"order": number % 90_000 + 10_000, "token": f"{number:08x}"}


def worker_of(job_id: str) -> str:
    return f"worker-{zlib.crc32(job_id.encode(errors='replace')) % WORKERS + 1}"


def error_of(text: str, function: str) -> dict[str, object]:
    """A stored error with what is known of it."""
    failure = _BY_TEXT.get(text)
    return {"message": text} if failure is None else failure.to_json(function)


def _begin(function: str) -> Place:
    package, _, name = function.rpartition(".")
    return Place(f"{ROOT}/shop/{package or 'jobs'}/tasks.py", 41, name, f"{name}_now(order)")
