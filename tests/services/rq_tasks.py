"""Jobs for real RQ workers."""


def send_mail(order: int, to: str = "", password: str = "") -> None:
    deliver(f"order {order} to {to}")


def deliver(text: str) -> None:
    raise ConnectionError(text)


def add(left: int, right: int) -> int:
    return left + right


CAUSES = (
    KeyError,
    ValueError,
    TypeError,
    ConnectionError,
    TimeoutError,
    LookupError,
    PermissionError,
    ZeroDivisionError,
    NotImplementedError,
    OverflowError,
)


def fail_for(cause: int, order: int) -> None:
    raise CAUSES[cause](f"order {order} of customer {order:032x} cannot be shipped")
