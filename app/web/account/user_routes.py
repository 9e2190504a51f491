"""`/api/users`: administrators list, add and change users. Passwords can be set, but not read."""

from typing import Annotated, Any, Literal, Self

from flask import Response, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from app.accounts import users
from app.accounts.models import User
from app.accounts.passwords import find_weakness
from app.accounts.user_changes import UserChange
from app.db import db, write
from app.infra.problems import Problem
from app.web.account import bp
from app.web.auth import actor, require


def _check_name(text: str) -> str:
    problem = users.find_name_problem(text)
    if problem:
        raise ValueError(problem)
    return text


def _check_encodable(text: str) -> str:
    """Refuse unpaired surrogates, which JSON can contain but which cannot be encoded and hashed."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("expected text without unpaired surrogates") from None
    return text


Name = Annotated[str, AfterValidator(_check_name)]
Role = Literal["viewer", "operator", "product", "admin"]
Password = Annotated[str, AfterValidator(_check_encodable)]


class NewUser(BaseModel):
    """The body of `POST /api/users`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Name
    role: Role
    password: Password


class ChangedUser(BaseModel):
    """The body of `PATCH /api/users/{name}`: at least one of these; null means no change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    role: Role | None = None
    password: Password | None = None
    disabled: bool | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.role is None and self.password is None and self.disabled is None:
            raise ValueError("expected at least one of role, password, disabled")
        return self


@bp.get("/api/users")
@require("admin", scope="admin")
def list_users() -> Response:
    """Return `{data: [{name, role, disabled, createdAt, disabledAt?}]}`, sorted by name."""
    return jsonify(data=[_user_to_json(user) for user in users.list_users(db.session())])


@bp.post("/api/users")
@require("admin", scope="admin")
def add_user() -> ResponseReturnValue:
    """Return `201` and the user, or `409` if the name is taken."""
    wanted = NewUser.model_validate(request.get_json())
    password_hash = _hash_password(wanted.password, wanted.name)
    try:
        with write() as session:
            user = users.create_user(session, wanted.name, wanted.role, password_hash, actor().name)
    except users.NameTaken as error:
        detail = f"User {wanted.name} already exists; change that user, or choose another name."
        raise Problem(409, "Name taken", detail, errors={"name": "is taken"}) from error
    return jsonify(_user_to_json(user)), 201


@bp.patch("/api/users/<name>")
@require("admin", scope="admin")
def change_user(name: str) -> Response:
    """Return the changed user, or `409` if no administrator would be left."""
    wanted = ChangedUser.model_validate(request.get_json())
    password_hash = None if wanted.password is None else _hash_password(wanted.password, name)
    try:
        if not users.NAME_PATTERN.fullmatch(name):
            raise users.UnknownUserOrToken
        with write() as session:
            user = users.change(session, name, UserChange(wanted.role, password_hash, wanted.disabled), actor().name)
    except users.UnknownUserOrToken as error:
        raise Problem(404, "No such user", "GET /api/users lists all users.") from error
    except users.LastAdmin as error:
        detail = f"{name} is the last enabled administrator: make someone else an admin first."
        raise Problem(409, "Last administrator", detail, reason="last-admin") from error
    return jsonify(_user_to_json(user))


def _hash_password(password: str, name: str) -> str:
    weak = find_weakness(password, name)
    if weak:
        raise Problem(400, "Bad input", f"password: {weak}", errors={"password": weak})
    db.session.remove()  # do not hold a pooled connection while the password is hashed
    try:
        return users.hash_password(password)
    except users.TooBusy as error:
        detail = "Too many passwords are being hashed. Nothing was changed; try again in a moment."
        raise Problem(503, "Too busy", detail, headers={"Retry-After": "2"}) from error


def _user_to_json(user: User) -> dict[str, Any]:
    shown = {
        "name": user.name,
        "role": user.role,
        "disabled": user.disabled_at is not None,
        "createdAt": user.created_at,
    }
    return shown if user.disabled_at is None else {**shown, "disabledAt": user.disabled_at}
