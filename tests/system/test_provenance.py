"""Whoever has a picture that was made here may ask what it is, without an account."""

import io

from PIL import Image

from tests.system.conftest import EVERY_MODE
from tests.system.product import Product, User

VERIFY = "/api/v2/storage/verify"


@EVERY_MODE
def test_a_picture_and_a_copy_of_it_are_known_to_be_made_here(product: Product, user: User) -> None:
    task = user.wait(user.generate("a sunset over the sea")["id"])
    url = task["output_url"]

    with product.client() as anonymous:
        content = anonymous.get(url).raise_for_status().content
        with Image.open(io.BytesIO(content)) as image:
            copy = io.BytesIO()
            image.reduce(2).save(copy, "JPEG", quality=50)
        whole = anonymous.post(VERIFY, files={"file": ("a.png", content)}).json()
        copied = anonymous.post(VERIFY, files={"file": ("a.jpg", copy.getvalue())}).json()

    assert (whole["made_here"], whole["intact"], whole["exact_match"]) == (True, True, True)
    assert whole["c2pa"]["state"] == "trusted"
    assert whole["digital_source_type"] == "algorithmicMedia"  # the simulator's, no model's
    assert (copied["made_here"], copied["intact"]) == (True, False)
    assert copied["model_id"] == whole["model_id"] == task["model_id"]
    assert copied["made_at"] == whole["made_at"]
