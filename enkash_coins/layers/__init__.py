"""Transports around a transport, each with one promise."""
