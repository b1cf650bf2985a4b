"""Proofs of a second factor, as they are made, shown and spent."""

import base64
import hashlib
from typing import Final, Literal
from uuid import UUID

from kernel.clock import random_token
from kernel.http import Identity
from kernel.unit import Unit
from services.keys.domain import MFA, PROVING, SpendProof

MfaPolicy = Literal["required", "enrolled", "off"]
"""Who must prove a second factor to rotate or delete a key: everybody, who has one, nobody."""
PROOF_BYTES: Final = 32
_PREFIX: Final = "mfa_"


def new_mfa_token() -> str:
    """256 random bits: what its holder shows as `X-MFA-Token`."""
    return _PREFIX + base64.urlsafe_b64encode(random_token(PROOF_BYTES)).rstrip(b"=").decode()


def proof_sha256(token: str | None) -> str | None:
    """What is kept of a token, in hex."""
    return None if token is None else hashlib.sha256(token.encode()).hexdigest()


class MfaProofs:
    def __init__(self, policy: MfaPolicy) -> None:
        self._policy = policy

    async def spend(
        self, unit: Unit, caller: Identity, token: str | None, operation: str, key_id: UUID | None
    ) -> None:
        """Take the caller's proof for `operation` on that key, in the transaction that does it.

        Raises `Forbidden` (`mfa_required`) where the policy asks for a proof, alike for one that is
        missing, spent, expired, somebody else's, or for something else.
        """
        if self._policy == "off":
            return
        stream_id = MFA.stream_id(caller.user_id)
        if self._policy == "enrolled" and not (await unit.state(MFA, stream_id)).enrolled:
            return
        sha256 = proof_sha256(token)
        command = SpendProof(caller.user_id, sha256, operation, key_id, unit.now)
        await unit.decide(PROVING, stream_id, command)
