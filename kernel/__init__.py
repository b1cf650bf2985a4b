"""The shared library: how every service remembers, says, hears, answers and runs.

It knows nothing of credits, tasks or keys; it imports contracts for the envelope only.
"""
