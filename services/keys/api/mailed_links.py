"""HTTP in: `/auth` of what is done by a mailed link, in seed 003's shapes."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from kernel.http import Caller, FromClient
from kernel.identifiers import shown
from services.keys.adapters import Accounts
from services.keys.api.words import Email, MailedToken, NewPassword, StrictRequest


class VerifyEmailRequest(StrictRequest):
    token: MailedToken


class ForgotRequest(StrictRequest):
    email: Email


class ResetRequest(StrictRequest):
    token: MailedToken
    password: NewPassword


class VerifiedUser(BaseModel):
    user_id: str
    is_verified: Literal[True] = True


class VerifyEmailAnswer(BaseModel):
    success: Literal[True] = True
    message: str = "E-mail address verified successfully"
    data: VerifiedUser


class Nothing(BaseModel):
    """There is no more to say."""


class ForgotAnswer(BaseModel):
    success: Literal[True] = True
    message: str = "If somebody has this address, a link to set a new password is on its way."
    data: Nothing = Nothing()


class ResetAnswer(BaseModel):
    success: Literal[True] = True
    message: str = "Password set successfully; sign in again."
    data: Nothing = Nothing()


def mailed_link_routes(accounts: Accounts) -> APIRouter:
    router = APIRouter(prefix="/auth", tags=["accounts"])

    @router.post("/verify-email")
    async def verify_email(
        _: Caller, client: FromClient, body: VerifyEmailRequest
    ) -> VerifyEmailAnswer:
        """422 `invalid_token`, alike for one that never was, was used, or has ended."""
        user_id = await accounts.verify_email(body.token.get_secret_value(), client)
        return VerifyEmailAnswer(data=VerifiedUser(user_id=shown("user", user_id)))

    @router.post("/password/forgot", status_code=202)
    async def forgot(_: Caller, client: FromClient, body: ForgotRequest) -> ForgotAnswer:
        """202 whether or not somebody has the address."""
        await accounts.forget_password(body.email, client)
        return ForgotAnswer()

    @router.post("/password/reset")
    async def reset(_: Caller, client: FromClient, body: ResetRequest) -> ResetAnswer:
        """Sets the password and ends every session; 422 `invalid_token` as above."""
        token, password = body.token.get_secret_value(), body.password.get_secret_value()
        await accounts.reset_password(token, password, client)
        return ResetAnswer()

    return router
