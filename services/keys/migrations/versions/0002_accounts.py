"""Records of accounts: sessions, what is mailed and by which link it is answered, wrong guesses."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Heads from before are what the same events fold to now: nobody had a session that is known.
    op.execute(
        """
        UPDATE keys.streams SET state = state || jsonb_build_object(
            'verified_at', NULL, 'disabled_at', NULL, 'erased_at', NULL,
            'sessions', jsonb_build_array())
        WHERE stream_id LIKE 'user-%' AND NOT state ? 'sessions'"""
    )
    op.execute(
        """
        ALTER TABLE keys.users
            ALTER COLUMN password_hash DROP NOT NULL,
            ADD COLUMN username_lookup bytea UNIQUE,
            ADD COLUMN firebase_sha256 bytea UNIQUE"""
    )
    op.execute(
        """
        CREATE TABLE keys.sessions (
            session_id uuid PRIMARY KEY,
            user_id uuid NOT NULL,
            family_sha256 bytea NOT NULL UNIQUE,
            token_sha256 bytea NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL
        )"""
    )
    op.execute("CREATE INDEX sessions_by_user ON keys.sessions (user_id)")
    op.execute("CREATE INDEX sessions_by_end ON keys.sessions (expires_at)")
    op.execute(
        """
        CREATE TABLE keys.mail_tokens (
            token_sha256 bytea PRIMARY KEY,
            user_id uuid NOT NULL,
            purpose text NOT NULL,
            expires_at timestamptz NOT NULL
        )"""
    )
    op.execute("CREATE INDEX mail_tokens_by_user ON keys.mail_tokens (user_id, purpose)")
    op.execute("CREATE INDEX mail_tokens_by_end ON keys.mail_tokens (expires_at)")
    op.execute(
        """
        CREATE TABLE keys.mails (
            kind text NOT NULL,
            email_lookup bytea NOT NULL,
            mail_id uuid NOT NULL UNIQUE,
            attempts integer NOT NULL DEFAULT 0,
            due_at timestamptz NOT NULL,
            PRIMARY KEY (kind, email_lookup)
        )"""
    )
    op.execute("CREATE INDEX mails_by_due ON keys.mails (due_at)")
    op.execute(
        """
        CREATE TABLE keys.guesses (
            subject bytea PRIMARY KEY,
            failures integer NOT NULL,
            blocked_until timestamptz,
            expires_at timestamptz NOT NULL
        )"""
    )
    op.execute("CREATE INDEX guesses_by_end ON keys.guesses (expires_at)")
