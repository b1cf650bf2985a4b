from itertools import combinations

import pytest
from cryptography.fernet import InvalidToken

from kernel.clock import new_id
from kernel.encryption import Encryption, Personal, derive
from kernel.event_store import EventStore
from kernel.sql import Database
from kernel.testing import FakeClock
from kernel.unit import Unit
from tests.kernel.totals import SCHEMA, TOTAL, run_sql

OLD = "an old master key, long enough for anyone"
NEW = "a new master key, long enough for anyone"
TEXT = "a cat, reading Ω on the roof"


def test_what_was_encrypted_is_read_again() -> None:
    encryption = Encryption([OLD])
    assert encryption.decrypt(encryption.encrypt(TEXT)) == TEXT


def test_a_ciphertext_shows_nothing_and_is_never_the_same() -> None:
    encryption = Encryption([OLD])
    first, second = encryption.encrypt(TEXT), encryption.encrypt(TEXT)
    assert b"cat" not in first
    assert first != second


def test_a_new_key_reads_what_an_older_one_wrote_while_both_are_given() -> None:
    written = Encryption([OLD]).encrypt(TEXT)
    assert Encryption([NEW, OLD]).decrypt(written) == TEXT
    with pytest.raises(InvalidToken):
        Encryption([NEW]).decrypt(written)


def test_the_first_key_is_the_one_that_encrypts() -> None:
    assert Encryption([NEW]).decrypt(Encryption([NEW, OLD]).encrypt(TEXT)) == TEXT


def test_a_changed_ciphertext_is_refused() -> None:
    encryption = Encryption([OLD])
    token = bytearray(encryption.encrypt(TEXT))
    token[20] ^= 1
    with pytest.raises(InvalidToken):
        encryption.decrypt(bytes(token))


@pytest.mark.parametrize("keys", [[], [""], ["short"], [OLD, "short"]])
def test_refuses_missing_and_short_keys_without_saying_them(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="ENCRYPTION_MASTER_KEY") as refused:
        Encryption(keys)
    assert "short" not in str(refused.value)


def test_secrets_of_different_purposes_and_keys_have_nothing_in_common() -> None:
    secrets = [derive(key, purpose) for key in (OLD, NEW) for purpose in ("links", "fernet")]
    assert all(one != other for one, other in combinations(secrets, 2))


def test_a_derived_secret_is_as_stable_as_the_first_key() -> None:
    assert Encryption([OLD, NEW]).derived_secret("links") == derive(OLD, "links")


def test_the_derivation_never_changes() -> None:
    # Data at rest depends on it: a change here makes every deployment's data unreadable.
    assert derive(OLD, "links") == b"Tyxe0s0sCrounS9JFBvmUcbrIcoJgcuzjzgnDnj3ADc="


async def keep(store: EventStore, personal: Personal, ref: str, text: str) -> None:
    async def work(unit: Unit) -> None:
        await personal.keep(unit, OWNER_ID, ref, text)

    await store.transact(work)


OWNER_ID = new_id()


async def test_personal_texts_are_encrypted_kept_once_and_gone_when_erased(
    database: Database,
) -> None:
    store = EventStore(database, SCHEMA, [TOTAL], clock=FakeClock())
    personal = Personal(SCHEMA, Encryption([OLD]))
    await keep(store, personal, "task-1", TEXT)
    await keep(store, personal, "task-1", "another")
    async with database.connection() as connection:
        assert await personal.read(connection, OWNER_ID, ["task-1", "task-2"]) == {"task-1": TEXT}
        assert await personal.read(connection, new_id(), ["task-1"]) == {}
        value = await connection.fetchval(f"SELECT value FROM {SCHEMA}.personal")
        assert TEXT.encode() not in value
        await run_sql(database, f"DELETE FROM {SCHEMA}.personal")
        assert await personal.read(connection, OWNER_ID, ["task-1"]) == {}


async def test_personal_texts_are_replaced_removed_and_forgotten_with_their_owner(
    database: Database,
) -> None:
    store = EventStore(database, SCHEMA, [TOTAL], clock=FakeClock())
    personal = Personal(SCHEMA, Encryption([OLD]))
    other = new_id()

    async def change(unit: Unit) -> None:
        personal.replace(unit, OWNER_ID, "name", "first")
        personal.replace(unit, OWNER_ID, "name", "second")
        personal.replace(unit, OWNER_ID, "phone", "+49")
        personal.remove(unit, OWNER_ID, "phone")
        personal.replace(unit, other, "name", "theirs")

    async def forget(unit: Unit) -> None:
        personal.forget(unit, OWNER_ID)

    await store.transact(change)
    async with database.connection() as connection:
        both = [OWNER_ID, other, new_id()]
        assert await personal.read(connection, OWNER_ID, ["name", "phone"]) == {"name": "second"}
        names = await personal.read_each(connection, both, "name")
        assert names == {OWNER_ID: "second", other: "theirs"}
        await store.transact(forget)
        assert await personal.read_each(connection, both, "name") == {other: "theirs"}
