"""The text of ``python -m netloop stacks``, for tasks that await each other in every way."""

from __future__ import annotations

from typing import Any

import pytest

from netloop.tools.stacks import lines_of, main


def task(number: int, *awaited_by: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"T{number}",
        "coroutine": "work",
        "chain": [],
        "awaits": "a future",
        "running": False,
        "awaited_by": list(awaited_by),
        **more,
    }


def answer(*tasks: dict[str, Any], count: int | None = None, **more: Any) -> dict[str, Any]:
    loop = {
        "running": True,
        "thread": "MainThread",
        "turn_seconds": 0,
        "stack": [],
        "tasks": {"count": len(tasks) if count is None else count, "shown": list(tasks)},
        **more,
    }
    return {"pid": 1, "netloop": "0", "python": "3", "loops": [loop]}


def tree(*tasks: dict[str, Any]) -> list[str]:
    """The lines of the tasks, without what follows a name."""
    lines = list(lines_of(answer(*tasks)))
    return [line.partition(" work")[0][2:] for line in lines[4:]]


def test_a_task_stands_below_the_one_that_waits_for_it() -> None:
    assert tree(task(1, 2), task(2), task(3, 1)) == ["T2", "  T1", "    T3"]


def test_a_task_that_two_wait_for_is_told_once() -> None:
    assert tree(task(1), task(2), task(3, 1, 2)) == ["T1", "  T3", "T2", "  T3, see above"]


def test_tasks_that_wait_for_each_other() -> None:
    assert tree(task(1, 2), task(2, 1)) == ["T1", "  T2", "    T1, see above"]


def test_a_task_whose_waiter_is_not_shown_stands_at_the_left() -> None:
    assert tree(task(1, 99)) == ["T1"]


def test_a_chain_longer_than_the_stack_of_python() -> None:
    tasks = [task(1), *(task(number, number - 1) for number in range(2, 3000))]
    assert len(tree(*tasks)) == len(tasks)


def test_what_is_left_out_is_said() -> None:
    assert "tasks: 5, 4 of them not shown (--limit)" in list(lines_of(answer(task(1), count=5)))


def test_what_a_loop_does() -> None:
    assert "loop 1 in MainThread: waits" in list(lines_of(answer()))
    assert "loop 1: does not run" in list(lines_of(answer(running=False, thread=None)))
    stuck = list(lines_of(answer(turn_seconds=2.5, stack=["a.py:1 in f"])))
    assert "loop 1 in MainThread: in the same turn for 2.500 s" in stuck
    assert "  a.py:1 in f" in stuck


def test_a_process_whose_loops_are_closed() -> None:
    assert list(lines_of({"pid": 1, "netloop": "0", "python": "3", "loops": []}))[-1] == "no loop that is open"


def test_what_would_move_the_cursor_of_a_terminal_is_written_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = answer(task(1, name="of \x1b[31m\n\udcff €"))
    monkeypatch.setattr("netloop.tools.stacks.ask", lambda process, *, limit, timeout: told)
    assert main(["1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == r"  of \x1b[31m\n\udcff € work, awaits a future"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["²"], "² is not a positive number"),
        (["1", "--timeout", "nan"], "nan is not a positive number of seconds"),
        (["1", "--timeout", "-1"], "-1 is not a positive number of seconds"),
        (["1", "--timeout", "inf"], "inf is not a positive number of seconds"),
        (["1", "--timeout", "soon"], "soon is not a positive number of seconds"),
    ],
)
def test_a_command_line_that_cannot_be_followed(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
