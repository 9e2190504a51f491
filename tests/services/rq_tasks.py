"""Jobs for real RQ workers."""


def send_mail(order: int, to: str = "", password: str = "") -> None:
    deliver(f"order {order} to {to}")


def deliver(text: str) -> None:
    raise ConnectionError(text)


def add(left: int, right: int) -> int:
    return left + right
