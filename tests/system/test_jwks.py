"""Access tokens that anybody can verify, by the page that shows how."""

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.http.access_tokens import AUDIENCE, ISSUER
from tests.kernel.test_token_keys import private_pem
from tests.system.product import Product, log_in, running
from tests.system.test_account_life import me, register


def test_a_token_is_good_here_and_for_whoever_reads_the_page(embedded_product: Product) -> None:
    file = embedded_product.home.parent / "jwt.pem"
    file.write_text(private_pem(Ed25519PrivateKey.generate()))
    file.chmod(0o644)
    embedded_product.settings = {
        **embedded_product.settings,
        "JWT_PRIVATE_KEY_FILE": str(file),
    }
    with running(embedded_product):
        token = log_in(embedded_product, register(embedded_product))
        assert me(embedded_product, token).status_code == 200
        with embedded_product.client() as anonymous:
            page = anonymous.get("/.well-known/jwks.json").raise_for_status().json()
    key = jwt.PyJWKSet.from_dict(page)[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["EdDSA"], audience=AUDIENCE, issuer=ISSUER)
    assert claims["sub"]
