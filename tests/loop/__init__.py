"""Behaviour of an event loop, each test run on asyncio, uvloop and netloop."""
