"""What the gateway reads from the environment; knows no route and no service."""

from kernel.http.access_tokens import AccessTokenSettings


class GatewaySettings(AccessTokenSettings):
    """So far what every service reads; `public_base_url` is the server named in `/openapi.json`."""
