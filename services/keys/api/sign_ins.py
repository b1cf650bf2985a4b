"""HTTP in: `/auth` of signing in, staying in and out, in seed 003's shapes."""

from typing import Annotated, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field, SecretStr

from kernel.http import Caller, FromClient
from kernel.http.access_tokens import AccessClaims, AccessTokens
from kernel.identifiers import shown
from services.keys.adapters import FirebaseSignIns, Granted, SignIns, Users
from services.keys.adapters.users import EMAIL, FULL_NAME
from services.keys.api.words import Email, OldPassword, StrictRequest, email_of

REFRESH_TOKEN_LENGTH_MAX = 200
ID_TOKEN_LENGTH_MAX = 16_384


class LoginRequest(StrictRequest):
    email: Email
    password: OldPassword


class RefreshRequest(StrictRequest):
    refresh_token: Annotated[SecretStr, Field(min_length=1, max_length=REFRESH_TOKEN_LENGTH_MAX)]


class FirebaseRequest(StrictRequest):
    id_token: Annotated[SecretStr, Field(min_length=1, max_length=ID_TOKEN_LENGTH_MAX)]


class SignedInUser(BaseModel):
    id: str
    email: str | None
    full_name: str | None


class Tokens(BaseModel):
    """`expires_in` is in seconds, of the access token; a refresh token is good once."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the kind of token, not one
    expires_in: int
    refresh_token: str


class Session(Tokens):
    user: SignedInUser


class LoginAnswer(BaseModel):
    success: Literal[True] = True
    message: str = "Login successful"
    data: Session


class RefreshAnswer(BaseModel):
    success: Literal[True] = True
    message: str = "Token refreshed successfully"
    data: Tokens


def sign_in_routes(
    users: Users,
    sign_ins: SignIns,
    firebase_sign_ins: FirebaseSignIns,
    access_tokens: AccessTokens,
) -> APIRouter:
    router = APIRouter(prefix="/auth", tags=["accounts"])

    async def session_of(granted: Granted) -> LoginAnswer:
        personal = await users.personal(granted.user_id)
        user = SignedInUser(
            id=shown("user", granted.user_id),
            email=personal.get(EMAIL),
            full_name=personal.get(FULL_NAME),
        )
        tokens = _tokens(access_tokens, granted)
        return LoginAnswer(data=Session(**tokens.model_dump(), user=user))

    @router.post("/login")
    async def login(_: Caller, client: FromClient, body: LoginRequest) -> LoginAnswer:
        """401 `invalid_credentials`, alike for an unknown address and a wrong password; 429
        `too_many_attempts` after many."""
        password = body.password.get_secret_value()
        return await session_of(await sign_ins.by_password(body.email, password, client))

    @router.post("/firebase")
    async def firebase(_: Caller, client: FromClient, body: FirebaseRequest) -> LoginAnswer:
        """Signs in by Firebase's ID token, registering at the first time; 409 `email_taken` when
        the address is somebody's whom this may not be, 503 `not_configured`."""
        id_token = body.id_token.get_secret_value()
        return await session_of(await firebase_sign_ins.by_id_token(id_token, email_of, client))

    @router.post("/refresh")
    async def refresh(_: Caller, client: FromClient, body: RefreshRequest) -> RefreshAnswer:
        """The next tokens of a session; a refresh token that was used before ends it."""
        granted = await sign_ins.refresh(body.refresh_token.get_secret_value(), client)
        return RefreshAnswer(data=_tokens(access_tokens, granted))

    @router.post("/logout", status_code=204)
    async def logout(caller: Caller, client: FromClient) -> Response:
        """Ends the session of the access token."""
        await sign_ins.sign_out(caller, client)
        return Response(status_code=204)

    return router


def _tokens(access_tokens: AccessTokens, granted: Granted) -> Tokens:
    claims = AccessClaims(
        user_id=granted.user_id,
        account_id=granted.account_id,
        role=granted.role,
        plan=granted.plan,
        session_id=granted.session_id,
    )
    return Tokens(
        access_token=access_tokens.mint(claims),
        expires_in=int(access_tokens.lifetime.total_seconds()),
        refresh_token=granted.refresh_token,
    )
