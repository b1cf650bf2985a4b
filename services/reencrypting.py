"""Everything at rest under the first master key, so that the others can be taken away; while
serving, and as often as one likes."""

import sys
from collections.abc import Iterable

from kernel.encryption import Encryption
from kernel.reencryption import personal_of, reencrypt
from kernel.secrets import secrets_of
from kernel.settings import Settings
from kernel.sql import Database
from services.keys import app as keys_app
from services.keys.adapters.renewal import renew_lookups

LOOKUPS = "keys.users"


async def reencrypt_all(dsn: str, settings: Settings, schemas: Iterable[str]) -> int:
    """Say what was renewed, table by table; the exit status: 1 when a row could not be read."""
    encryption = Encryption(secrets_of(settings).master_keys)
    database = await Database.connect(dsn)
    unreadable = 0
    try:
        for where in (*(personal_of(schema) for schema in schemas), keys_app.ENCRYPTED):
            told = await reencrypt(database, encryption, where)
            unreadable += told.unreadable
            _say(where.table, f"{told.renewed} renewed")
            if told.unreadable:
                _say(where.table, f"{told.unreadable} under no key of ENCRYPTION_MASTER_KEY")
        if not unreadable:
            _say(LOOKUPS, f"{await renew_lookups(database, encryption)} renewed")
    finally:
        await database.close()
    return 1 if unreadable else 0


def _say(table: str, words: str) -> None:
    sys.stdout.write(f"{table}: {words}\n")
