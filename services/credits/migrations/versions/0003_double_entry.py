"""Lots, refunds and losses; what is due; the ledger's entries as SQL shows them."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # Heads from before are what the same events fold to now.
    op.execute(
        """
        UPDATE credits.streams SET state = state || '{"lots": []}'
        WHERE stream_id LIKE 'account-%' AND NOT state ? 'lots'"""
    )
    op.execute(
        """
        UPDATE credits.streams SET state = state ||
            '{"lots": [], "purpose": null, "refunded_units": 0, "lost": []}'
        WHERE stream_id LIKE 'hold-%' AND NOT state ? 'lots'"""
    )
    op.execute(
        """
        CREATE TABLE IF NOT EXISTS credits.due_accounts (
            account_id uuid NOT NULL,
            due_at timestamptz NOT NULL,
            PRIMARY KEY (account_id, due_at)
        )"""
    )
    op.execute("CREATE INDEX IF NOT EXISTS due_accounts_by_time ON credits.due_accounts (due_at)")
    op.execute(
        """
        CREATE INDEX IF NOT EXISTS open_holds ON credits.streams ((state->>'account_id'), stream_id)
        WHERE stream_id LIKE 'hold-%' AND state->>'status' = 'held'"""
    )
    op.execute(
        """
        CREATE OR REPLACE VIEW credits.entries AS
        WITH transfer AS (
            SELECT event_id AS transfer_id, position, recorded_at AS at, type,
                data->>'account_id' AS account_id,
                (data->>'amount_units')::bigint AS units,
                data->>'task_id' AS hold_id,
                version AS account_version,
                (data->>'granted_after')::bigint - (data->>'used_after')::bigint AS posted_after,
                (data->>'held_after')::bigint AS held_after,
                coalesce((data->>'released_units')::bigint, 0) AS released_units,
                CASE type
                    WHEN 'GrantEntered' THEN 'grant'
                    WHEN 'HoldEntered' THEN 'hold'
                    WHEN 'CommitEntered' THEN 'commit'
                    WHEN 'ReleaseEntered' THEN 'release'
                    WHEN 'RefundEntered' THEN 'refund'
                    WHEN 'AdjustmentEntered' THEN 'adjust'
                    WHEN 'ChargeEntered' THEN 'charge'
                    WHEN 'ExpiryEntered' THEN 'expire'
                    WHEN 'LossEntered' THEN 'loss'
                END AS kind,
                CASE
                    WHEN type IN ('GrantEntered', 'RefundEntered') THEN 1
                    WHEN type = 'AdjustmentEntered' AND NOT (data->>'taken')::boolean THEN 1
                    WHEN type IN ('HoldEntered', 'ReleaseEntered') THEN 0
                    ELSE -1
                END AS sign
            FROM credits.events WHERE type LIKE '%Entered'
        )
        SELECT transfer_id, position, at, kind, hold_id,
            CASE WHEN kind = 'loss' THEN 'platform:losses' ELSE account_id END AS account,
            sign * units AS posted,
            CASE kind WHEN 'hold' THEN units WHEN 'release' THEN -units
                WHEN 'commit' THEN -(units + released_units) ELSE 0 END AS held,
            CASE WHEN kind <> 'loss' THEN posted_after END AS posted_after,
            CASE WHEN kind <> 'loss' THEN held_after END AS held_after,
            CASE WHEN kind <> 'loss' THEN account_version END AS account_version
        FROM transfer
        UNION ALL
        SELECT transfer_id, position, at, kind, hold_id,
            CASE WHEN kind IN ('grant', 'adjust', 'expire') THEN 'platform:grants'
                ELSE 'platform:revenue' END,
            -sign * units,
            CASE kind WHEN 'hold' THEN -units WHEN 'release' THEN units
                WHEN 'commit' THEN units + released_units ELSE 0 END,
            NULL, NULL, NULL
        FROM transfer"""
    )
    op.execute(
        "COMMENT ON VIEW credits.entries IS 'Both sides of each transfer, from the events: of each"
        " transfer, and of all, posted and held sum to zero. Platform accounts are derived.'"
    )
