import signal
import socket

import psutil
import pytest

from tests.system.product import Product, holder_of, new_user, running, wait_until
from tests.system.test_account_life import NEW_PASSWORD, mailed, post, register, sign_in

END_MAX_S = 10.0
"""The goal is 5 s, and bench/ measures it; this is twice that, for a crowded machine."""
SLOW = "[[sim:latency seconds=3]] a slow pear"


def test_ctrl_c_ends_it_and_what_was_in_flight_completes_after_the_next_start(
    own_product: Product,
) -> None:
    with running(own_product) as product:
        with new_user(product) as user:
            tasks = [user.generate(SLOW, resolution="512x512")["id"] for _ in range(4)]
            wait_until(lambda: all(task["started_at"] for task in user.tasks()))
            assert {task["status"] for task in user.tasks()} == {"processing"}
        children = psutil.Process(product.process.pid).children(recursive=True)

        status, seconds = product.interrupt()

        assert status == 0
        assert seconds <= END_MAX_S
        assert not [child for child in children if child.is_running()]
        assert "Traceback" not in product.words()

        product.start()
        with holder_of(product, user.email, user.token, user.key) as same:
            assert [same.wait(task)["status"] for task in tasks] == ["completed"] * 4
            wait_until(lambda: same.balance()["reserved_credits"] == 0)
            assert same.balance()["used_credits"] == 4.0
            assert {task["id"] for task in same.tasks()} == set(tasks)


def test_refuses_a_second_start_on_the_same_home(product: Product) -> None:
    second = Product(product.home, product.settings, label="second")
    status, words = second.words_at_end()
    assert status == 1
    assert f"already runs in {product.home.resolve()}" in words
    assert "Traceback" not in words
    with product.client() as client:
        assert client.get("/readyz").status_code == 200


def test_says_which_port_is_taken(embedded_product: Product) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        embedded_product.settings = {**embedded_product.settings, "PORT": str(port)}
        status, words = embedded_product.words_at_end()
    assert status == 1
    assert f"can't listen on 127.0.0.1:{port}" in words
    assert "PORT" in words
    assert "Traceback" not in words


@pytest.mark.parametrize(
    ("name", "value"),
    [("SMARTSPEC_FRIST_LOOK_S", "1"), ("PORT", "many")],
)
def test_refuses_a_setting_that_it_does_not_understand_and_names_it(
    embedded_product: Product, name: str, value: str
) -> None:
    embedded_product.settings = {**embedded_product.settings, name: value}
    status, words = embedded_product.words_at_end()
    assert status == 1
    assert name in words
    assert "Traceback" not in words
    assert not embedded_product.home.exists()


def test_ctrl_c_before_it_is_ready_ends_what_it_has_started(embedded_product: Product) -> None:
    embedded_product.begin()
    started = psutil.Process(embedded_product.process.pid)
    wait_until(lambda: bool(started.children()))
    children = started.children(recursive=True)

    status, seconds = embedded_product.interrupt()

    assert status == 128 + signal.SIGINT
    assert seconds <= END_MAX_S
    assert not [child for child in children if child.is_running()]
    assert "Traceback" not in embedded_product.words()


def test_sessions_and_mails_outlive_a_restart(embedded_product: Product) -> None:
    with running(embedded_product):
        email = register(embedded_product)
        session = sign_in(embedded_product, email)
        mailed(embedded_product, email, "verify-email")
        post(embedded_product, "/auth/password/forgot", {"email": email})
        embedded_product.kill()
        embedded_product.start()
        old = {"refresh_token": session["refresh_token"]}
        assert post(embedded_product, "/auth/refresh", old).status_code == 200
        token = mailed(embedded_product, email, "reset-password")
        reset = {"token": token, "password": NEW_PASSWORD}
        assert post(embedded_product, "/auth/password/reset", reset).status_code == 200
