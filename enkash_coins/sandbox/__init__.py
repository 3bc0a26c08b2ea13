"""The coin API over real HTTP on loopback, with faults on demand: to develop against, and to test with."""

from enkash_coins.sandbox.exchange import SeenRequest
from enkash_coins.sandbox.faults import Fault, FaultKind
from enkash_coins.sandbox.server import Sandbox

__all__ = ["Fault", "FaultKind", "Sandbox", "SeenRequest"]
