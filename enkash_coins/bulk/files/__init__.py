"""Files as people have them, read as rows that can be sent."""

from enkash_coins.bulk.files.columns import Item
from enkash_coins.bulk.files.problems import BadFile
from enkash_coins.bulk.files.rows import Rows, read

__all__ = ["BadFile", "Item", "Rows", "read"]
