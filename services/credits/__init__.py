"""credits owns accounts, their ledger, every hold on them and the budgets of limited API keys.

It hears UserRegistered (opens the account with the plan's grant), TaskCreated (reserves the price),
TaskCompleted, TaskFailed and TaskCancelled (commits what is owed, releases the rest). It says
AccountOpened, CreditsGranted, CreditsReserved, CreditsDeclined, CreditsCommitted and
CreditsReleased. It knows amounts only: prices and policies are generation's.
"""
