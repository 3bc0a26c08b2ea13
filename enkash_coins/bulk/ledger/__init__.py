"""The ledger of a run: one SQLite file. All SQL is in here, as functions that the writer's thread performs."""
