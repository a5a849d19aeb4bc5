"""What happens where a server is not installed, and that nothing of one is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps.servers import find, running_redis


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        (None, pytest.skip.Exception),
        ("", pytest.skip.Exception),
        ("false", pytest.skip.Exception),
        ("1", pytest.fail.Exception),
        ("true", pytest.fail.Exception),
    ],
)
def test_a_server_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, value: str | None, outcome: type[BaseException]
) -> None:
    """The test that needs it is skipped, and fails in CI; either way the reader is told what to install."""
    if value is None:
        monkeypatch.delenv("CI", raising=False)
    else:
        monkeypatch.setenv("CI", value)
    with pytest.raises(outcome, match="no-such-server is not installed: apt-get install no-such-package"):
        find("no-such-server", "no-such-package")


def test_a_server_leaves_nothing_behind() -> None:
    with running_redis() as server:
        folder = Path(server.path).parent
        assert Path(server.path).is_socket()
    assert not folder.exists()
