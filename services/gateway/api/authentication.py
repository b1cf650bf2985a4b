"""Who is asking, and whether they may: the one authorisation function, for every header form."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from kernel.cache import BoundedCache
from kernel.clock import Clock
from kernel.errors import Forbidden, Unauthenticated
from kernel.http.access_tokens import AccessTokens
from kernel.http.identity import Identity, InternalTokens
from services.gateway.adapters.credentials import Credential, Form, extract
from services.gateway.adapters.holder import Holder
from services.gateway.adapters.key_ring import KeyRing
from services.gateway.adapters.request_headers import RequestHeaders
from services.gateway.adapters.session_ring import SessionRing
from services.gateway.api.routes import Auth, Route

MINTED_MAX: Final = 10_000
MINTED_FOR: Final = timedelta(seconds=5)
"""Far less than an internal token lives, so that none expires on its way."""


# Open routes carry a token too, so that a service can refuse whatever did not pass the edge.
ANONYMOUS: Final = Identity(UUID(int=0), UUID(int=0), role="anonymous", plan="", scopes=frozenset())


class Authority:
    """Admits a request to a route, and says so to the service in an internal token."""

    def __init__(
        self,
        key_ring: KeyRing,
        session_ring: SessionRing,
        access_tokens: AccessTokens,
        internal_tokens: InternalTokens,
        clock: Clock,
    ) -> None:
        self._key_ring = key_ring
        self._session_ring = session_ring
        self._access_tokens = access_tokens
        self._internal_tokens = internal_tokens
        self._clock = clock
        self._minted: BoundedCache[Identity, bytes] = BoundedCache(MINTED_MAX, MINTED_FOR)

    async def identify(
        self, route: Route, headers: RequestHeaders, address: str
    ) -> Identity | None:
        """Who asks, from the client's `address`; None where no credential is asked for.

        Raises:
            Malformed, Unauthenticated: by the credential; see `credentials.extract`.
            Forbidden: `address_not_allowed`, a key that is good from elsewhere alone.
            Unavailable: the credential can't be checked just now.
        """
        if route.auth is Auth.NONE:
            return None
        holder = await self._holder(route.auth, extract(headers))
        if not holder.is_good_from(address):
            raise Forbidden("address_not_allowed", "This key is not for use from your address.")
        return holder.identity

    def admit(self, route: Route, identity: Identity | None) -> bytes:
        """The internal token for `route`'s service: nobody's for None.

        Raises `Forbidden`, `access_denied`, when the scope is missing.
        """
        if identity is None:
            return self._token(ANONYMOUS)
        good = {route.scope, route.or_scope}
        if route.scope is not None and good.isdisjoint(identity.scopes):
            raise Forbidden(
                "access_denied",
                f"The scope {route.scope} is missing.",
                {"required_scope": route.scope},
            )
        return self._token(identity)

    async def _holder(self, auth: Auth, credential: Credential) -> Holder:
        if credential.form is Form.JWT:
            if auth is Auth.KEY:
                raise Unauthenticated("api_key_required", "Send an API key: a sign-in does not do.")
            return await self._session_ring.holder(self._access_tokens.read(credential.text))
        if auth is Auth.JWT:
            raise Unauthenticated("access_token_required", "Sign in: an API key does not do here.")
        return await self._key_ring.holder(credential.text)

    def _token(self, identity: Identity) -> bytes:
        now = self._clock.now()
        token = self._minted.get(identity, now)
        if token is None:
            token = self._internal_tokens.mint(identity).encode("ascii")
            self._minted.put(identity, token, now)
        return token
