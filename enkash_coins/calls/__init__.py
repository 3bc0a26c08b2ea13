"""One call, and many calls."""
