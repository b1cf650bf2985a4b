"""Rates for tests and benchmarks of something else, which ask more than anybody may."""

from typing import Final

from kernel.rates import RateClass

PLENTY: Final = ",".join(f"{rate_class.value}=1000000/minute" for rate_class in RateClass)
