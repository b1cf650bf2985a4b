"""What storage does by itself from time to time, and the proof that nothing of an erased user is
left."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE storage.rounds (
            name text PRIMARY KEY,
            due_at timestamptz NOT NULL,
            ended_at timestamptz,
            seen jsonb
        )""")
    op.execute("""
        CREATE TABLE storage.erasure_checks (
            user_id uuid NOT NULL,
            key text NOT NULL,
            not_before timestamptz NOT NULL,
            PRIMARY KEY (user_id, key)
        )""")
    op.execute("""
        ALTER TABLE storage.erasures
            ADD COLUMN objects bigint NOT NULL DEFAULT 0, ADD COLUMN proven_at timestamptz""")
    op.execute("UPDATE storage.erasures SET next_step_at = since WHERE next_step_at IS NULL")
    op.execute("""
        CREATE INDEX output_fetches_by_object_key ON storage.output_fetches (object_key)
            WHERE object_key IS NOT NULL""")
    _refuse_the_erased()


def _refuse_the_erased() -> None:
    """An upload of somebody who has been erased is refused, as a personal record is; what is heard
    of their plan is let fall."""
    locked = """
            PERFORM pg_advisory_xact_lock_shared(
                hashtextextended('storage.erasures ' || NEW.user_id, 0));
            IF EXISTS (SELECT FROM storage.erasures WHERE user_id = NEW.user_id) THEN"""
    op.execute(f"""
        CREATE FUNCTION storage.refuse_upload_of_erased() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN{locked}
                RAISE EXCEPTION 'the owner has been erased' USING ERRCODE = 'SV003';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER uploads_are_of_nobody_erased BEFORE INSERT ON storage.uploads
            FOR EACH ROW EXECUTE FUNCTION storage.refuse_upload_of_erased()""")
    op.execute(f"""
        CREATE FUNCTION storage.drop_plan_of_erased() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN{locked}
                RETURN NULL;
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER plans_are_of_nobody_erased BEFORE INSERT ON storage.plans
            FOR EACH ROW EXECUTE FUNCTION storage.drop_plan_of_erased()""")
