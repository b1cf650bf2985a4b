"""The rule of the inbox: what a message caused is recorded as its effect, so it has none twice."""

from uuid import UUID

from services.credits.adapters.verification.rules import Look, Rule


def messages_since(first_id: UUID) -> Look:
    """Of messages from `first_id` on; the inbox forgets those from before."""
    return Look(
        "messages",
        """
        SELECT position, data->>'account_id' AS account_id, data->>'task_id' AS task_id,
            event_id AS entry_id, type, causation_id
        FROM (
            SELECT *, (metadata->>'causation_id')::uuid AS causation_id FROM credits.events
            WHERE type LIKE '%Entered'
        ) AS entry
        WHERE causation_id >= $1 AND NOT EXISTS (
            SELECT FROM credits.inbox
            WHERE consumer = 'credits' AND message_id = causation_id AND state = 'done')""",
        (
            Rule(
                "not_in_inbox",
                "An entry that a message caused has it in the inbox, as done",
                "true",
                "format('message %s', causation_id)",
            ),
        ),
        (first_id,),
    )
