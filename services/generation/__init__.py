"""generation owns tasks, provider jobs, the model catalogue and the price book.

It hears CreditsReserved and CreditsDeclined (the task may start, or has failed), OutputStored and
OutputRejected (an output is kept, or can't be), UserDisabled (the user's active tasks end) and
UserErased (so does all that is kept of the user's words). It says TaskCreated, TaskStarted,
OutputProduced, TaskCompleted, TaskFailed, TaskCancelled and TaskRemoved, and broadcasts TaskChanged
and TaskProgressed to its own replicas, where clients follow tasks.
"""
