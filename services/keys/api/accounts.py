"""HTTP in: `/auth` of one's own account, in seed 003's shapes; it must not know how a password is
kept."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import asyncpg
from fastapi import APIRouter
from pydantic import BaseModel, Field

from kernel.errors import Invalid, Unauthenticated
from kernel.http import Caller, Client, FromClient, Identity
from kernel.identifiers import shown
from kernel.sql import Database
from services.keys import read_model
from services.keys.adapters import Accounts, SignIns, Users
from services.keys.adapters.users import EMAIL, FULL_NAME, PHONE, USERNAME
from services.keys.api.words import Email, FullName, NewPassword, OldPassword, StrictRequest


class RegisterRequest(StrictRequest):
    email: Email
    password: NewPassword
    full_name: FullName | None = None


class UpdateRequest(StrictRequest):
    """What is left out stays; null removes. A username is one whatever its case."""

    username: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{2,29}$")] | None = None
    phone: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$")] | None = None
    """E.164: `+` and 7 to 15 digits."""
    full_name: FullName | None = None


class EraseRequest(StrictRequest):
    """`password`; or, for who has none, `confirm` with their own address."""

    password: OldPassword | None = None
    confirm: Email | None = None


class Registered(BaseModel):
    user_id: str
    email: str
    is_verified: bool


class RegisterAnswer(BaseModel):
    success: Literal[True] = True
    message: str = "User registered successfully"
    data: Registered


class Me(BaseModel):
    id: str
    email: str | None
    full_name: str | None
    username: str | None
    phone: str | None
    is_verified: bool
    role: str
    plan: str
    created_at: datetime


class MeAnswer(BaseModel):
    success: Literal[True] = True
    message: str = "User retrieved successfully"
    data: Me


class ErasedUser(BaseModel):
    user_id: str


class EraseAnswer(BaseModel):
    success: Literal[True] = True
    message: str = "The account is erased; what other services keep of it follows."
    data: ErasedUser


def account_routes(
    database: Database, users: Users, accounts: Accounts, sign_ins: SignIns
) -> APIRouter:
    router = APIRouter(prefix="/auth", tags=["accounts"])

    @router.post("/register", status_code=201)
    async def register(_: Caller, client: FromClient, body: RegisterRequest) -> RegisterAnswer:
        """409 `email_taken` for a known address. A link to verify it is mailed."""
        user_id = await accounts.register(
            body.email, body.password.get_secret_value(), body.full_name, client
        )
        registered = Registered(user_id=shown("user", user_id), email=body.email, is_verified=False)
        return RegisterAnswer(data=registered)

    @router.get("/me")
    async def me(caller: Caller) -> MeAnswer:
        """The signed-in user."""
        return MeAnswer(data=await _me(database, users, caller.user_id))

    @router.patch("/me")
    async def update(caller: Caller, client: FromClient, body: UpdateRequest) -> MeAnswer:
        """Changes what is given; 409 `username_taken`."""
        await _present(database, caller.user_id)
        changes = {name: getattr(body, name) for name in sorted(body.model_fields_set)}
        if changes:
            await accounts.rename(caller, changes, client)
        return MeAnswer(
            message="User updated successfully", data=await _me(database, users, caller.user_id)
        )

    @router.delete("/me", status_code=202)
    async def erase(caller: Caller, client: FromClient, body: EraseRequest) -> EraseAnswer:
        """Forgets the user for ever, here and, soon after, in every service."""
        await _present(database, caller.user_id)
        async with accounts.refused_erasure(caller, client):
            await _confirmed(accounts, sign_ins, caller, client, body)
        await accounts.erase(caller, client)
        return EraseAnswer(data=ErasedUser(user_id=shown("user", caller.user_id)))

    return router


async def _confirmed(
    accounts: Accounts, sign_ins: SignIns, caller: Identity, client: Client, body: EraseRequest
) -> None:
    """Raises `Invalid`, naming the field, unless the body shows that the user means it."""
    if await accounts.has_password(caller.user_id):
        if body.password is None:
            raise Invalid("password_required", "password: it is needed.", {"field": "password"})
        password = body.password.get_secret_value()
        if not await sign_ins.is_password_of(caller.user_id, password, client):
            raise Invalid("wrong_password", "password: it is wrong.", {"field": "password"})
    elif body.confirm is None or not await accounts.confirms(caller.user_id, body.confirm):
        raise Invalid(
            "not_confirmed", "confirm: it must be your own e-mail address.", {"field": "confirm"}
        )


async def _present(database: Database, user_id: UUID) -> asyncpg.Record:
    """Who signed in. Raises `Unauthenticated` for whom nobody is, or who was shut out since."""
    identity = await read_model.active_identity(database, user_id)
    if identity is None:
        raise Unauthenticated("unauthenticated", "Sign in to see who you are.")
    return identity


async def _me(database: Database, users: Users, user_id: UUID) -> Me:
    identity = await _present(database, user_id)
    personal = await users.personal(user_id)
    return Me(
        id=shown("user", user_id),
        email=personal.get(EMAIL),
        full_name=personal.get(FULL_NAME),
        username=personal.get(USERNAME),
        phone=personal.get(PHONE),
        is_verified=identity["verified_at"] is not None,
        role=identity["role"],
        plan=identity["plan"],
        created_at=identity["registered_at"],
    )
