"""Seals: a chain of hashes over all events, written after them and never changed."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # Seals come one after the other, and their ranges of positions do too: no row is between two.
    op.execute(
        """
        CREATE TABLE IF NOT EXISTS credits.seals (
            seal_no bigint PRIMARY KEY CHECK (seal_no > 0),
            first_position bigint NOT NULL UNIQUE,
            last_position bigint NOT NULL UNIQUE CHECK (last_position >= first_position),
            events integer NOT NULL CHECK (events > 0),
            digest bytea NOT NULL,
            previous bytea NOT NULL,
            head bytea NOT NULL,
            sealed_at timestamptz NOT NULL
        )"""
    )
    op.execute(
        """
        CREATE OR REPLACE FUNCTION credits.refuse_change_of_seal()
        RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'seals are append-only: % refused', TG_OP
                USING ERRCODE = 'insufficient_privilege';
        END $$"""
    )
    op.execute(
        """
        CREATE OR REPLACE TRIGGER seals_are_append_only
            BEFORE UPDATE OR DELETE OR TRUNCATE ON credits.seals
            FOR EACH STATEMENT EXECUTE FUNCTION credits.refuse_change_of_seal()"""
    )
