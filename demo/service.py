"""The parts of one running service, as the routes find them."""

from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app

from demo.faults import Faults
from demo.ledger import Ledger
from demo.store import Store

EXTENSION = "demo"


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    speed: float
    store: Store
    ledger: Ledger
    faults: Faults

    def init_app(self, app: Flask) -> None:
        app.extensions[EXTENSION] = self


def current_service() -> Service:
    return cast(Service, current_app.extensions[EXTENSION])
