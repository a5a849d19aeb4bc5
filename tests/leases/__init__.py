"""Receive buffers that the application reads, and sends from, in place; on netloop alone."""
