"""The due-list of mails: a request asks for one in its own transaction, a worker sends it later.

A row names an address by its hash alone, known or not, so asking costs the same for both; whether
somebody is there, and with which link, is found out when it is sent. A mail may be sent twice when
a process dies in between, and is given up after `ATTEMPTS_MAX`.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from kernel.clock import new_id
from kernel.event_store import EventStore
from kernel.sql import DATABASE_AWAY
from kernel.unit import Unit
from services.keys.adapters.mail_tokens import MailTokens, Purpose
from services.keys.adapters.mailers import Mail, Mailer, MailFailed
from services.keys.adapters.users import EMAIL, Users, lock

POLL_EVERY_S: Final = 1.0
BATCH: Final = 20
AGAIN_AFTER: Final = tuple(
    timedelta(seconds=seconds) for seconds in (60, 60, 300, 900, 3_600, 3_600, 14_400)
)
"""After each attempt, which also leases the mail to whoever tries; all within a day."""
ATTEMPTS_MAX: Final = len(AGAIN_AFTER)

_SUBJECTS: Final = {
    Purpose.VERIFY_EMAIL: "Confirm your e-mail address",
    Purpose.RESET_PASSWORD: "Set a new password",
}
# The token stands behind `#`, which browsers keep from servers, logs and other sites.
_WORDS: Final = {
    Purpose.VERIFY_EMAIL: (
        "Confirm that this address is yours:\n\n{url}/verify-email#token={token}\n\n"
        "The link is good for three days. If you have not registered, do nothing.\n"
    ),
    Purpose.RESET_PASSWORD: (
        "Set a new password:\n\n{url}/reset-password#token={token}\n\n"
        "The link is good once, for an hour. If you have not asked for it, do nothing:"
        " your password stays.\n"
    ),
}
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DueMail:
    """`attempts` counts this one."""

    mail_id: UUID
    kind: str
    email_lookup: bytes
    attempts: int


class Mails:
    """The records `keys.mails`; `url` is where the links lead."""

    def __init__(
        self, store: EventStore, users: Users, tokens: MailTokens, mailer: Mailer, url: str
    ) -> None:
        self._store = store
        self._users = users
        self._tokens = tokens
        self._mailer = mailer
        self._url = url

    def ask(self, unit: Unit, purpose: Purpose, email: str) -> None:
        """Mail a link to whoever has the address; one that waits already is enough."""
        lookups = self._users.lookups(email)
        lock(unit, lookups)
        unit.record_sql(
            "INSERT INTO keys.mails (kind, email_lookup, mail_id, due_at)"
            " VALUES ($1, coalesce((SELECT email_lookup FROM keys.users"
            " WHERE email_lookup = ANY($2::bytea[]) LIMIT 1), $3), $4, $5)"
            " ON CONFLICT (kind, email_lookup) DO NOTHING",
            *(purpose.value, lookups.every, lookups.own, new_id(), unit.now),
        )

    async def run(self) -> None:
        """Send what is due, until cancelled."""
        while True:
            try:
                while await self.send_due() == BATCH:
                    pass
            except (*DATABASE_AWAY, TimeoutError) as error:
                _log.warning("mails_not_looked_at", error=type(error).__name__)
            await asyncio.sleep(POLL_EVERY_S)

    async def send_due(self) -> int:
        """Try each mail that is due, at most `BATCH`; how many there were."""
        due = await self._claim(self._store.clock.now())
        for mail in due:
            await self._try(mail)
        return len(due)

    async def _claim(self, now: datetime) -> list[DueMail]:
        """Due mails, which nobody else will take up before their next time."""
        async with self._store.database.connection() as connection:
            rows = await connection.fetch(
                f"""
                UPDATE keys.mails SET attempts = attempts + 1, due_at = $1::timestamptz
                    + ($2::interval[])[least(attempts + 1, {ATTEMPTS_MAX})]
                WHERE mail_id = ANY(ARRAY(
                    SELECT mail_id FROM keys.mails WHERE due_at <= $1
                    ORDER BY due_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED))
                RETURNING mail_id, kind, email_lookup, attempts""",
                now,
                AGAIN_AFTER,
            )
        return [DueMail(**row) for row in rows]

    async def _try(self, due: DueMail) -> None:
        purpose = Purpose(due.kind)
        async with self._store.database.connection() as connection:
            record = await self._users.found(connection, due.email_lookup)
        if record is not None:
            token = await self._tokens.mint(record.user_id, purpose)
            if token is not None and not await self._sent(due, record.user_id, purpose, token):
                await self._tokens.unmint(token)
                if due.attempts < ATTEMPTS_MAX:
                    return
                _log.error("mail_given_up", mail_id=str(due.mail_id), kind=due.kind)
        async with self._store.database.connection() as connection:
            await connection.execute("DELETE FROM keys.mails WHERE mail_id = $1", due.mail_id)

    async def _sent(self, due: DueMail, user_id: UUID, purpose: Purpose, token: str) -> bool:
        address = (await self._users.personal(user_id)).get(EMAIL)
        if address is None:  # erased just now
            return True
        words = _WORDS[purpose].format(url=self._url, token=token)
        try:
            await self._mailer.send(Mail(due.mail_id, address, _SUBJECTS[purpose], words))
        except MailFailed as failure:
            _log.warning(
                "mail_not_sent", mail_id=str(due.mail_id), kind=due.kind, reason=failure.reason
            )
            return False
        return True
