"""Mails leave over real SMTP, or as files that their owner alone may read."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from kernel.clock import SystemClock, new_id
from kernel.supervision import free_port
from services.keys.adapters.mailers import (
    FILES_MAX,
    FileMailer,
    Mail,
    MailFailed,
    SmtpMailer,
    UnconfiguredMailer,
)
from services.keys.app import mailer_of
from services.keys.settings import KeysSettings

SENDER = "no-reply@example.com"
HOST = "127.0.0.1"


def mail(address: str = "ada@example.com") -> Mail:
    return Mail(new_id(), address, "A subject", "Words\nwith #token=canary-token in them\n")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@dataclass
class Received:
    """What the server was given; `answer` is what it says to it."""

    answer: str = "250 OK"
    envelopes: list[Envelope] = field(default_factory=list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        self.envelopes.append(envelope)
        return self.answer


@contextmanager
def smtp_server(
    received: Received,
    tls: ssl.SSLContext | None = None,
    *,
    password: bytes | None = None,
    starts_tls: bool = True,
) -> Iterator[int]:
    """Its port. With a `password` it takes mails of `ada` alone, and after STARTTLS alone."""

    def check(_: SMTP, __: Session, ___: object, ____: str, given: object) -> AuthResult:
        assert isinstance(given, LoginPassword)
        right = given.login == b"ada" and given.password == password
        return AuthResult(success=right, handled=False)  # the server says which it was

    port = free_port()
    controller = Controller(
        received,
        hostname=HOST,
        port=port,
        tls_context=tls if starts_tls else None,
        require_starttls=starts_tls and tls is not None,
        authenticator=check,
        auth_required=password is not None,
        auth_require_tls=starts_tls,
    )
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS of a server at `HOST`, and of a client that knows its certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail server of tests")])
    now = SystemClock().now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), False)  # noqa: FBT003
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cafile=str(path))


async def test_sends_by_smtp() -> None:
    received, sent = Received(), mail()
    with smtp_server(received) as port:
        await SmtpMailer(HOST, port, SENDER).send(sent)
    (envelope,) = received.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == (SENDER, ["ada@example.com"])
    text = str(envelope.content, "utf-8") if isinstance(envelope.content, bytes) else ""
    assert "Subject: A subject" in text
    assert "To: ada@example.com" in text
    assert sent.words.splitlines()[1] in text


async def test_signs_in_to_the_server_after_starttls(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    received = Received()
    with smtp_server(received, contexts[0], password=b"secret") as port:
        await SmtpMailer(HOST, port, SENDER, "ada", "secret", contexts[1]).send(mail())
        with pytest.raises(MailFailed):
            await SmtpMailer(HOST, port, SENDER, "ada", "wrong", contexts[1]).send(mail())
    assert len(received.envelopes) == 1


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # such a server is what is tested
async def test_gives_no_password_to_a_server_without_tls() -> None:
    received = Received()
    with (
        smtp_server(received, password=b"secret", starts_tls=False) as port,
        pytest.raises(MailFailed),
    ):
        await SmtpMailer(HOST, port, SENDER, "ada", "secret").send(mail())
    assert received.envelopes == []


async def test_trusts_no_certificate_that_nobody_vouches_for(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    with (
        smtp_server(Received(), contexts[0], password=b"secret") as port,
        pytest.raises(MailFailed),
    ):
        await SmtpMailer(HOST, port, SENDER, "ada", "secret").send(mail())


async def test_says_that_a_mail_did_not_leave_without_saying_to_whom() -> None:
    with (
        smtp_server(Received("451 ada@example.com is busy")) as port,
        pytest.raises(MailFailed) as refused,
    ):
        await SmtpMailer(HOST, port, SENDER).send(mail())
    with pytest.raises(MailFailed) as unreached:
        await SmtpMailer(HOST, free_port(), SENDER).send(mail())
    for failure in (refused, unreached):
        assert "ada" not in failure.value.reason
        assert failure.value.reason


@pytest.mark.parametrize("address", ["eve@example.com,ada@example.com", "<ada@example.com>", "a"])
async def test_sends_nothing_to_what_is_not_one_address(address: str) -> None:
    received = Received()
    with smtp_server(received) as port, pytest.raises(MailFailed):
        await SmtpMailer(HOST, port, SENDER).send(mail(address))
    assert received.envelopes == []


async def test_writes_files_that_others_can_not_read_and_logs_where(tmp_path: Path) -> None:
    sent = mail()
    with capture_logs() as logged:
        await FileMailer(tmp_path / "mail", SENDER).send(sent)
    (path,) = (tmp_path / "mail").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "mail").stat().st_mode & 0o777 == 0o700
    assert sent.words.splitlines()[1] in path.read_text()
    assert [line["file"] for line in logged] == [str(path)]
    assert "canary-token" not in str(logged)
    assert "ada@example.com" not in str(logged)


async def test_keeps_the_newest_files(tmp_path: Path) -> None:
    mailer = FileMailer(tmp_path, SENDER)
    for n in range(FILES_MAX + 3):
        (tmp_path / f"{n:032x}.eml").touch()
    sent = mail()
    await asyncio.gather(mailer.send(sent))
    kept = names_in(tmp_path)
    assert len(kept) == FILES_MAX
    assert kept[-1] == f"{sent.mail_id}.eml"


async def test_says_that_a_file_could_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "mail").touch()
    with pytest.raises(MailFailed):
        await FileMailer(tmp_path / "mail", SENDER).send(mail())


async def test_production_without_smtp_says_so_and_sends_nothing(tmp_path: Path) -> None:
    with capture_logs() as logged:
        mailer = mailer_of(KeysSettings(API_MODE="production", SMARTSPEC_HOME=tmp_path))
    assert [line["event"] for line in logged] == ["no_mail_without_smtp"]
    assert isinstance(mailer, UnconfiguredMailer)
    with pytest.raises(MailFailed):
        await mailer.send(mail())
    assert names_in(tmp_path) == []
