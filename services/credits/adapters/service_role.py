"""The role that the service has in production: it can add to the ledger, and change nothing of it.

It owns its records and its read models, because it makes partitions and tables of them; the events
and the seals belong to whoever migrates, so that no bug and no stolen password of the service can
edit, remove or empty them, nor switch their triggers off.
"""

from typing import Final

_IDENTIFIER_MAX: Final = 63
_STATEMENTS: Final = """
GRANT USAGE, CREATE ON SCHEMA credits TO {role};
GRANT SELECT ON credits.alembic_version, credits.entries TO {role};
GRANT SELECT, INSERT ON credits.events, credits.seals TO {role};
REVOKE UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER
    ON credits.events, credits.seals FROM PUBLIC, {role};
DO $$
DECLARE owned record;
BEGIN
    FOR owned IN
        SELECT c.oid::regclass AS name FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND (n.nspname = 'credits_read' OR n.nspname = 'credits'
            AND c.relname NOT IN ('events', 'seals', 'alembic_version'))
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO {role}', owned.name);
    END LOOP;
    IF to_regnamespace('credits_read') IS NOT NULL THEN
        ALTER SCHEMA credits_read OWNER TO {role};
    END IF;
END $$;
"""


def service_role(role: str) -> str:
    """SQL, run by the owner of the database, that lets `role` (which exists) be the service's; may
    be run again. Raises ValueError for what is no plain name."""
    if not (role.isascii() and role.isidentifier() and len(role) <= _IDENTIFIER_MAX):
        raise ValueError("a role's name has letters, digits and _ alone")
    return _STATEMENTS.replace("{role}", f'"{role}"').strip()
