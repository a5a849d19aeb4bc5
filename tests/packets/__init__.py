"""Packet endpoints, which netloop alone has."""
