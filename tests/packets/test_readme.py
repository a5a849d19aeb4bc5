"""The snippet of the project's README, run as it stands but for its port."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

from loop.patience import stretched

README = Path(__file__).resolve().parents[2] / "README.md"


def test_it_answers_from_the_address_that_was_asked() -> None:
    snippets = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    (snippet,) = [each for each in snippets if "create_packet_endpoint" in each]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.settimeout(0.05)
        port = client.getsockname()[1]  # free at the addresses that are asked
        assert snippet.count("0.0.0.0") == snippet.count("9999") == 1
        program = snippet.replace("0.0.0.0", "127.0.0.9").replace("9999", str(port))
        with subprocess.Popen([sys.executable, "-W", "error", "-c", program]) as server:
            try:
                assert ask(client, ("127.0.0.9", port)) == b"hello"
            finally:
                server.kill()


def ask(client: socket.socket, address: tuple[str, int]) -> bytes:
    """What is answered, once the server is there."""
    client.connect(address)
    for _ in range(int(stretched(400))):
        try:
            client.send(b"hello")
            return client.recv(100)
        except TimeoutError:
            pass
        except ConnectionRefusedError:
            time.sleep(0.05)
    return b""
