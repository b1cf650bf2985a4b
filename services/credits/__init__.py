"""credits owns accounts, their ledger, every hold on them, plans, redeem codes and the budgets of
limited API keys.

It hears UserRegistered (opens the account with its plan's grant), TaskCreated (reserves the price),
TaskCompleted, TaskFailed and TaskCancelled (commits what is owed, releases the rest),
LateOutputProduced (the platform bears it) and StorageMeasured (charges the day). It says
AccountOpened, CreditsGranted, CreditsReserved, CreditsDeclined, CreditsCommitted, CreditsReleased,
BalanceLow, PlanChanged and StorageCharged. It knows amounts only: prices and policies are
generation's.
"""
