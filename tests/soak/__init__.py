"""Random use for a while, on netloop and, to show that the test is right, on asyncio."""
