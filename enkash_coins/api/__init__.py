"""The remote API, without I/O: how to ask, and how to read what comes back."""
