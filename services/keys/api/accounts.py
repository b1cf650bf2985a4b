"""HTTP in: `/auth`, in seed 003's shapes; it must not know how a password is kept."""

import re
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from kernel.clock import new_id
from kernel.errors import Unauthenticated
from kernel.http import Caller
from kernel.http.access_tokens import AccessClaims, AccessTokens
from kernel.identifiers import shown
from kernel.sql import Database
from services.keys import read_model
from services.keys.adapters import Users
from services.keys.adapters.users import EMAIL, FULL_NAME, normalised
from services.keys.api.words import Words

EMAIL_LENGTH_MAX = 254
PASSWORD_LENGTH_MIN = 8
PASSWORD_LENGTH_MAX = 1_024
FULL_NAME_LENGTH_MAX = 200

_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@.\x00-\x1f\x7f]+(?:\.[^\s@.\x00-\x1f\x7f]+)+")


def _email(text: str) -> str:
    address = normalised(text)
    if len(address) > EMAIL_LENGTH_MAX or not _EMAIL.fullmatch(address):
        raise ValueError("not an e-mail address")
    return address


Email = Annotated[str, Field(max_length=EMAIL_LENGTH_MAX), AfterValidator(_email)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class RegisterRequest(_Request):
    email: Email
    password: Annotated[
        SecretStr, Field(min_length=PASSWORD_LENGTH_MIN, max_length=PASSWORD_LENGTH_MAX)
    ]
    full_name: Annotated[Words, Field(max_length=FULL_NAME_LENGTH_MAX)] | None = None


class LoginRequest(_Request):
    email: Email
    password: Annotated[SecretStr, Field(min_length=1, max_length=PASSWORD_LENGTH_MAX)]


class Registered(BaseModel):
    user_id: str
    email: str
    is_verified: bool


class RegisterAnswer(BaseModel):
    success: Literal[True] = True
    message: str = "User registered successfully"
    data: Registered


class SignedInUser(BaseModel):
    id: str
    email: str | None
    full_name: str | None


class Session(BaseModel):
    """`expires_in` is in seconds."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the kind of token, not one
    expires_in: int
    user: SignedInUser


class LoginAnswer(BaseModel):
    success: Literal[True] = True
    message: str = "Login successful"
    data: Session


class Me(SignedInUser):
    role: str
    plan: str
    created_at: datetime


class MeAnswer(BaseModel):
    success: Literal[True] = True
    message: str = "User retrieved successfully"
    data: Me


def account_routes(database: Database, users: Users, access_tokens: AccessTokens) -> APIRouter:
    router = APIRouter(prefix="/auth", tags=["accounts"])

    @router.post("/register", status_code=201)
    async def register(_: Caller, body: RegisterRequest) -> RegisterAnswer:
        """409 `email_taken` for a known address."""
        user_id = await users.register(body.email, body.password.get_secret_value(), body.full_name)
        registered = Registered(user_id=shown("user", user_id), email=body.email, is_verified=False)
        return RegisterAnswer(data=registered)

    @router.post("/login")
    async def login(_: Caller, body: LoginRequest) -> LoginAnswer:
        """401 `invalid_credentials`, alike for an unknown address and a wrong password."""
        user_id = await users.sign_in(body.email, body.password.get_secret_value())
        identity = None if user_id is None else await read_model.identity_of(database, user_id)
        if identity is None:
            raise Unauthenticated("invalid_credentials", "The address or the password is wrong.")
        token = access_tokens.mint(
            AccessClaims(
                user_id=identity["user_id"],
                account_id=identity["account_id"],
                role=identity["role"],
                plan=identity["plan"],
                session_id=new_id(),
            )
        )
        session = Session(
            access_token=token,
            expires_in=int(access_tokens.lifetime.total_seconds()),
            user=await _user(users, identity["user_id"]),
        )
        return LoginAnswer(data=session)

    @router.get("/me")
    async def me(caller: Caller) -> MeAnswer:
        """The signed-in user."""
        identity = await read_model.identity_of(database, caller.user_id)
        if identity is None:
            raise Unauthenticated("unauthenticated", "Sign in to see who you are.")
        user = await _user(users, caller.user_id)
        return MeAnswer(
            data=Me(
                **user.model_dump(),
                role=identity["role"],
                plan=identity["plan"],
                created_at=identity["registered_at"],
            )
        )

    return router


async def _user(users: Users, user_id: UUID) -> SignedInUser:
    personal = await users.personal(user_id)
    return SignedInUser(
        id=shown("user", user_id), email=personal.get(EMAIL), full_name=personal.get(FULL_NAME)
    )
