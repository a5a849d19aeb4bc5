"""A plugin for uvloop's tests: those that they run on uvloop alone run on the loop under test instead."""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop._testbase as testbase

case: Any = testbase.UVTestCase
case.new_loop = lambda self: asyncio.new_event_loop()
case.new_policy = lambda self: asyncio.DefaultEventLoopPolicy()
