"""What the gateway reads from the environment; knows no route and no service."""

from kernel.settings import Settings


class GatewaySettings(Settings):
    """So far what every service reads; `public_base_url` is the server named in `/openapi.json`."""
