"""The rule of the inbox: what a message caused is recorded as its effect, so it has none twice."""

from typing import Final

from services.credits.adapters.verification.rules import Look, Rule

NOT_IN_INBOX: Final = Rule(
    "not_in_inbox",
    "An entry that a message caused has it in the inbox, as done",
    "unheard IS NOT NULL",
    "format('message %s', unheard)",
)
# Entries of accounts are looked at where their sums are; only losses lie elsewhere.
LOSSES: Final = Look(
    "messages",
    """
    SELECT position, data->>'account_id' AS account_id, data->>'task_id' AS task_id,
        event_id AS entry_id, causation_id AS unheard
    FROM (
        SELECT *, (metadata->>'causation_id')::uuid AS causation_id FROM rare_events
        WHERE type = 'LossEntered'
    ) AS entry
    WHERE causation_id >= $1 AND NOT EXISTS (
        SELECT FROM credits.inbox
        WHERE consumer = 'credits' AND message_id = causation_id AND state = 'done')""",
    (NOT_IN_INBOX,),
)
