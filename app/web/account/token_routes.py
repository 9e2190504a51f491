"""`/api/tokens`: users manage their own API tokens, administrators everybody's. A token is shown only once."""

from typing import Annotated, Any, Literal

import sqlalchemy as sa
from flask import Response, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field

from app.accounts import users
from app.accounts.actors import Actor, has_active_credential, usable_scopes
from app.accounts.models import ApiToken, User
from app.db import db, write
from app.infra.problems import Problem
from app.web import auth
from app.web.account import bp
from app.web.account.user_routes import Name
from app.web.auth import actor, require

MAX_TOKEN_ID = 2**31 - 1
Scope = Literal["stream", "read", "publish", "command", "rollout", "widget", "admin"]


class NewToken(BaseModel):
    """The body of `POST /api/tokens`. `days` defaults to 90, `user` to the caller."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    scopes: Annotated[list[Scope], Field(min_length=1, max_length=100)]
    days: Annotated[float, Field(gt=0, le=users.MAX_TOKEN_DAYS, allow_inf_nan=False)] | None = None
    user: Name | None = None


@bp.get("/api/tokens")
@require("viewer", scope=("read", "admin"))
def list_tokens() -> Response:
    """Return `{data: [{id, user, scopes, createdAt, expiresAt, revokedAt?}]}`, oldest first.

    These are the caller's tokens, or for an administrator all tokens; `user=` selects one user.
    """
    who, name = actor(), request.args.get("user")
    if not who.is_administrator and name not in (None, who.name):
        raise Problem(403, "Not allowed", "Only an administrator can see the tokens of other users.", reason="role")
    query = sa.select(ApiToken).join(User, User.id == ApiToken.user_id).order_by(ApiToken.id)
    if name is not None or not who.is_administrator:
        query = query.where(User.name == _owner_filter(name, who))
    return jsonify(data=[_token_to_json(row, row.user.name) for row in db.session().scalars(query)])


@bp.post("/api/tokens")
@require("viewer", scope="admin")
def create_token() -> ResponseReturnValue:
    """Return `201 {id, user, scopes, createdAt, expiresAt, token}`; `token` is shown only here."""
    who, wanted = actor(), NewToken.model_validate(request.get_json())
    owner = wanted.user or who.name
    _check_may_create(who, owner, set(wanted.scopes))
    try:
        with write() as session:
            users.find_for_change(session, owner)
            # What a reset of the owner ended since this request began must not leave a token behind.
            if not has_active_credential(session, who):
                raise auth.unauthorized_problem()
            row, text = users.add_token(session, owner, list(wanted.scopes), wanted.days, who.name)
    except users.UnknownUserOrToken as error:
        raise Problem(400, "Bad input", f"user: there is no user {owner}", errors={"user": "is unknown"}) from error
    except users.TooManyTokens as error:
        raise Problem(409, "Too many tokens", f"{str(error).capitalize()}.", reason="too-many-tokens") from error
    return jsonify(**_token_to_json(row, owner), token=text), 201, {"Cache-Control": "no-store"}


@bp.delete("/api/tokens/<token_id>")
def revoke_token(token_id: str) -> ResponseReturnValue:
    """Return `204`: the token stops working and its streams end at once. A token may always revoke itself."""
    who, number = actor(), _parse_token_id(token_id)
    if who.token_id is None or who.token_id != number:
        auth.check_access(who, "viewer", "admin")
    try:
        with write() as session:
            if not who.is_administrator:
                _check_owner(session.get(ApiToken, number), who)
            users.revoke_token(session, number, who.name)
    except users.UnknownUserOrToken as error:
        raise _no_such_token() from error
    return "", 204


def _check_may_create(who: Actor, owner: str, scopes: set[str]) -> None:
    """Check that `who` may create this token.

    An administrator may give any scope to any user; the user's role limits it at each use. Others may give themselves
    the scopes that their own role can use.
    """
    if who.is_administrator:
        return
    if owner != who.name:
        raise auth.forbidden_problem(who, "Only an administrator can create tokens for other users.", "role")
    beyond = sorted(scopes - usable_scopes(who.role))
    if beyond:
        detail = f"The role {who.role} cannot use the scope {beyond[0]}; ask an administrator for such a token."
        raise auth.forbidden_problem(who, detail, "scope")


def _check_owner(row: ApiToken | None, who: Actor) -> None:
    """Raise the same 404 for another user's token as for a missing one, to not reveal that it exists."""
    if row is None or row.user_id != who.user_id:
        raise _no_such_token()


def _owner_filter(name: str | None, who: Actor) -> str:
    if name is None:
        return who.name
    if not users.NAME_PATTERN.fullmatch(name):
        raise Problem(400, "Bad input", f"user: {users.NAME_RULE}", errors={"user": users.NAME_RULE})
    return name


def _parse_token_id(text: str) -> int:
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_TOKEN_ID))
    if not is_number or int(text) > MAX_TOKEN_ID:
        raise _no_such_token()
    return int(text)


def _no_such_token() -> Problem:
    return Problem(404, "No such token", "You have no active token with this id; GET /api/tokens lists your tokens.")


def _token_to_json(row: ApiToken, owner: str) -> dict[str, Any]:
    shown = {
        "id": row.id,
        "user": owner,
        "scopes": row.scopes.split(),
        "createdAt": row.created_at,
        "expiresAt": row.expires_at,
    }
    return {**shown, "revokedAt": row.revoked_at} if row.revoked_at else shown
