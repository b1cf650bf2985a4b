"""How a mail leaves: by SMTP, into a folder, or not at all; knows nothing of what is in it.

No address and no word of a mail is ever logged.
"""

import asyncio
import os
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

import aiosmtplib
import structlog

TIMEOUT_S: Final = 20.0
IMPLICIT_TLS_PORT: Final = 465
NOT_A_MESSAGE: Final = (MessageError, ValueError, IndexError)
"""What the standard library says of an address that can't stand in a header."""
FILES_MAX: Final = 1_000

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Mail:
    mail_id: UUID
    address: str
    subject: str
    words: str


class MailFailed(Exception):
    """It did not leave, and may later; `reason` has no address in it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Mailer(Protocol):
    async def send(self, mail: Mail) -> None:
        """Raises `MailFailed`."""
        ...


@dataclass(frozen=True, slots=True)
class SmtpMailer:
    """With a `username`, or on port 465, never without TLS; else STARTTLS where it is offered.

    `tls` defaults to the system's certificate authorities.
    """

    host: str
    port: int
    sender: str
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None

    async def send(self, mail: Mail) -> None:
        implicit = self.port == IMPLICIT_TLS_PORT
        must_upgrade = True if self.username is not None else None
        try:
            await aiosmtplib.send(
                message_of(mail, self.sender),
                recipients=[mail.address],
                hostname=self.host,
                port=self.port,
                username=self.username,
                password=self.password,
                use_tls=implicit,
                start_tls=False if implicit else must_upgrade,
                tls_context=self.tls,
                timeout=TIMEOUT_S,
            )
        except (aiosmtplib.SMTPException, OSError, *NOT_A_MESSAGE) as error:
            raise MailFailed(type(error).__name__) from None


@dataclass(frozen=True, slots=True)
class FileMailer:
    """For development: each mail is a file of `folder`, of which the newest `FILES_MAX` stay."""

    folder: Path
    sender: str

    async def send(self, mail: Mail) -> None:
        path = self.folder / f"{mail.mail_id}.eml"
        try:
            text = bytes(message_of(mail, self.sender))
            await asyncio.to_thread(_write, path, text)
        except (OSError, *NOT_A_MESSAGE) as error:
            raise MailFailed(type(error).__name__) from None
        _log.info("mail_written", file=str(path))


@dataclass(frozen=True, slots=True)
class UnconfiguredMailer:
    """Production without SMTP: nothing leaves, and each try says so."""

    async def send(self, _: Mail) -> None:
        raise MailFailed("SMTP_HOST is not set")


def message_of(mail: Mail, sender: str) -> EmailMessage:
    """Raises one of `NOT_A_MESSAGE`."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = Address(addr_spec=mail.address)  # one, whatever is in it
    message["Subject"] = mail.subject
    message["Message-ID"] = f"<{mail.mail_id}@{sender.rpartition('@')[2].rstrip('>')}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    message.set_content(mail.words)
    return message


def _write(path: Path, text: bytes) -> None:
    """Whole or not at all, for the owner's eyes."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".part")
    with suppress(FileNotFoundError):
        fresh.unlink()
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text)
    fresh.replace(path)
    for old in sorted(path.parent.glob("*.eml"))[:-FILES_MAX]:  # ids sort by time
        old.unlink(missing_ok=True)
