"""Other I/O of keys: password hashing in threads, the records of its users and of who used which
key, the audit trail, second factors, users' keys of vendors."""

from services.keys.adapters.accounts import Accounts
from services.keys.adapters.audit_trail import Attempt, AuditTrail
from services.keys.adapters.firebase_sign_ins import FirebaseSignIns
from services.keys.adapters.key_usage import KeyUsage, Use
from services.keys.adapters.mfa_proofs import MfaPolicy, MfaProofs
from services.keys.adapters.passwords import Passwords
from services.keys.adapters.provider_keys import ProviderKeys
from services.keys.adapters.second_factors import SecondFactors
from services.keys.adapters.sessions import Granted, Sessions
from services.keys.adapters.sign_ins import SignIns
from services.keys.adapters.users import Users

__all__ = [
    "Accounts",
    "Attempt",
    "AuditTrail",
    "FirebaseSignIns",
    "Granted",
    "KeyUsage",
    "MfaPolicy",
    "MfaProofs",
    "Passwords",
    "ProviderKeys",
    "SecondFactors",
    "Sessions",
    "SignIns",
    "Use",
    "Users",
]
