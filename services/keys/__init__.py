"""Keys: who people are, what their credentials may do, and the log of all that was tried with them.

Owns users (passwords, addresses, sessions, mails to them), second factors, API keys and their
versions, the keys of vendors that users bring, and the audit log. Hears PlanChanged. Says
UserRegistered, UserVerified, UserDisabled, UserErased, SessionRevoked, MfaEnrolled, MfaDisabled,
KeyCreated, KeyRotated, KeyRevoked and KeyDeleted; no key, key hash, password, code, name or address
leaves, but a vendor's key to the service that asks the vendor with it.
"""
