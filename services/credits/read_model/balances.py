"""Who has an account, and its balance."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    bindparam,
    select,
)

from kernel.puts import Put
from kernel.sql import Database
from kernel.unit import Recorded
from services.credits.domain import AccountOpened, Entry
from services.credits.read_model.tables import TABLES

ACCOUNTS: Final = Table(
    "accounts",
    TABLES,
    Column("account_id", Uuid, primary_key=True),
    Column("user_id", Uuid, nullable=False),
    Column("opened_with_plan", Text, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Index("accounts_by_user", "user_id"),
)
BALANCES: Final = Table(
    "credits_balances",
    TABLES,
    Column("account_id", Uuid, primary_key=True),
    Column("granted_units", BigInteger, nullable=False),
    Column("used_units", BigInteger, nullable=False),
    Column("held_units", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

_account_of_user = select(ACCOUNTS.c.account_id).where(ACCOUNTS.c.user_id == bindparam("user_id"))


_BALANCE: Final = """
    SELECT granted_units, used_units, held_units, state->'lots' AS lots
    FROM credits_read.credits_balances
    JOIN credits.streams ON stream_id = 'account-' || account_id
    WHERE account_id = $1"""


@dataclass(frozen=True, slots=True)
class Ending:
    """So many units end at that moment, unless they are spent or held before."""

    units: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Balance:
    """In 1/10,000 credit. An account that is not open yet has nothing."""

    total_units: int = 0
    used_units: int = 0
    reserved_units: int = 0

    @property
    def available_units(self) -> int:
        return self.total_units - self.used_units - self.reserved_units


def project_opening(recorded: Recorded[object], event: AccountOpened) -> tuple[Put, ...]:
    account = {
        "account_id": event.account_id,
        "user_id": event.user_id,
        "opened_with_plan": event.plan,
        "opened_at": recorded.at,
    }
    return Put(ACCOUNTS, account), _balance(recorded, event.account_id, 0, 0, 0)


def project_balance(recorded: Recorded[object], entry: Entry) -> Put:
    return _balance(
        recorded, entry.account_id, entry.granted_after, entry.used_after, entry.held_after
    )


def _balance(
    recorded: Recorded[object], account_id: UUID, granted: int, used: int, held: int
) -> Put:
    return Put(
        BALANCES,
        {
            "account_id": account_id,
            "granted_units": granted,
            "used_units": used,
            "held_units": held,
            "version": recorded.version,
            "updated_at": recorded.at,
        },
    )


async def account_of_user(database: Database, user_id: UUID) -> UUID | None:
    """The account of a user, if it is open."""
    row = await database.fetch_row(_account_of_user, user_id=user_id)
    return None if row is None else row["account_id"]


async def balance(
    database: Database, account_id: UUID, now: datetime
) -> tuple[Balance, tuple[Ending, ...]]:
    """What the account has `now`, and what of it will end: a grant that has ended counts no more,
    whether its end was entered or not."""
    async with database.connection() as connection:
        row = await connection.fetchrow(_BALANCE, account_id)
    if row is None:
        return Balance(), ()
    lots = [Ending(lot["units"], datetime.fromisoformat(lot["expires_at"])) for lot in row["lots"]]
    ended = sum(lot.units for lot in lots if lot.at <= now)
    left = Balance(row["granted_units"] - ended, row["used_units"], row["held_units"])
    return left, tuple(lot for lot in lots if lot.at > now)
