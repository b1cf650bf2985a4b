"""generation owns tasks, provider jobs, the model catalogue and the price book.

It hears CreditsReserved and CreditsDeclined (the task may start, or has failed), OutputStored and
OutputRejected (an output is kept, or can't be), UserDisabled (the user's active tasks end) and
UserErased (so does all that is kept of the user's words). It says TaskCreated, TaskStarted,
OutputProduced, TaskCompleted, TaskFailed and TaskCancelled, and broadcasts TaskChanged.
TaskProgressed is declared for the event stream to come; until then progress is read with the task.
"""
