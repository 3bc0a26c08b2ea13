"""Files of rows: checked, applied, and what was not applied kept for another time."""
