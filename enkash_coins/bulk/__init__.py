"""Runs: a bulk change as a plan that is applied, gone on with and taken back."""

from enkash_coins.bulk.comparison import State
from enkash_coins.bulk.files import BadFile, Rows, read
from enkash_coins.bulk.ledger.records import Counts, Record, Row
from enkash_coins.bulk.run import AlreadyThere, Run
from enkash_coins.bulk.writer import LedgerFailed

__all__ = ["AlreadyThere", "BadFile", "Counts", "LedgerFailed", "Record", "Row", "Rows", "Run", "State", "read"]
