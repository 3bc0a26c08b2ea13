"""Transports that reach a network."""
