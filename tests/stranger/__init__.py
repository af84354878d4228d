"""Cabinets written from docs/protocol.md alone, against the whole system."""
