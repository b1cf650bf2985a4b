"""credits owns accounts, their ledger and every hold on them.

It hears UserRegistered (opens the account with the plan's grant), TaskCreated (reserves the price),
TaskCompleted, TaskFailed and TaskCancelled (commits what is owed, releases the rest). It says
AccountOpened, CreditsGranted, CreditsReserved, CreditsDeclined, CreditsCommitted and
CreditsReleased. It knows amounts only: prices and policies are generation's.
"""
