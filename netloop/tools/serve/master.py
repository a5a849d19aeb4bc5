"""The master: starts the workers, replaces those that die, reloads them on SIGHUP, and ends them all.

Workers serve; the master only waits. It keeps the listening sockets open, so that none is closed while a worker's
successor takes over, and it imports nothing of the application, so that each worker finds the application's latest
version.

Starting and reloading are the same: each place gets a candidate, first one of them, and when that serves all the others
at once. When the last one serves, the candidates become the workers of their places, and those who were are told to
end. If a candidate ends before, the attempt is given up.
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
from collections.abc import Sequence
from typing import Final

from netloop.tools.serve.cpus import io_cpus_of_workers, own_cpus_of_workers
from netloop.tools.serve.listeners import Listeners
from netloop.tools.serve.notify import Notifier
from netloop.tools.serve.options import Options
from netloop.tools.serve.say import say
from netloop.tools.serve.settings import CLEAN_UP_SECONDS
from netloop.tools.serve.workers import WorkerProcess

__all__ = ["Master"]

_STEADY_SECONDS: Final = 10.0
"""A worker that has served for so long and dies is replaced at once."""

_LONGEST_PAUSE: Final = 30.0


class _Place:
    """What one worker after the other fills."""

    def __init__(self, number: int, cpu: int | None, io_cpus: Sequence[int] | None) -> None:
        self.number = number
        self.cpu = cpu
        self.io_cpus = io_cpus
        self.worker: WorkerProcess | None = None
        self.candidate: WorkerProcess | None = None
        self.failures = 0
        self.timer: asyncio.TimerHandle | None = None

    def stop_waiting(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Master:
    """The process that looks after the workers."""

    def __init__(self, options: Options, listeners: Listeners, notifier: Notifier) -> None:
        assert options.workers is not None
        self._application = options.application
        self._listeners = listeners
        self._notifier = notifier
        own = own_cpus_of_workers(options.workers, options.pin, options.application.io_cpus)
        shares = io_cpus_of_workers(options.workers, options.application.io_cpus)
        self._places = [_Place(number, *cpus) for number, cpus in enumerate(zip(own, shares, strict=True))]
        self._living: set[WorkerProcess] = set()
        self._has_served = False
        self._is_reloading = False
        self._is_stopping = False
        self._is_hurried = False
        self._status = 0

    def run(self) -> int:
        """Serve until SIGTERM or Ctrl-C; the exit status, that of the first worker if it cannot start."""
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(self._run())
        return self._status

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        handlers = {
            signal.SIGHUP: self._on_reload,
            signal.SIGTERM: self._on_stop,
            signal.SIGINT: self._on_hurry,
            signal.SIGQUIT: self._on_hurry,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        self._begin()
        try:
            await self._ended
        finally:
            # Only after an error of the master's own is anybody left.
            for worker in self._living:
                worker.kill()
            # The loop's end gives signals their old meaning: who is impatient would spoil the exit status.
            signal.pthread_sigmask(signal.SIG_BLOCK, handlers)

    # Starting and reloading -----------------------------------------------------------------------------------------

    def _on_reload(self) -> None:
        if self._is_stopping:
            return
        if self._has_served:
            say("reloading")
            self._notifier.reloading()
        # An attempt that is on its way may have read the version before the one that this is about.
        self._retire_candidates()
        self._begin()

    def _begin(self) -> None:
        self._is_reloading = True
        for place in self._places:
            place.stop_waiting()
        self._add_candidate(self._places[0])

    def _add_candidate(self, place: _Place) -> None:
        worker = self._start(place)
        if worker is None:
            self._give_up("no process could be started", 1)
        else:
            place.candidate = worker

    def _on_candidate_serving(self) -> None:
        if self._places[0].candidate is not None and len(self._places) > 1 and self._places[1].candidate is None:
            for place in self._places[1:]:
                if self._is_reloading:
                    self._add_candidate(place)
        elif all(place.candidate and place.candidate.serving_since is not None for place in self._places):
            self._take_over()

    def _take_over(self) -> None:
        self._is_reloading = False
        for place in self._places:
            if place.worker is not None:
                self._retire(place.worker)
            place.worker, place.candidate, place.failures = place.candidate, None, 0
        pids = ", ".join(str(place.worker.pid) for place in self._places if place.worker)
        if self._has_served:
            say(f"reloaded: workers {pids}")
        else:
            self._has_served = True
            say(f"running on {self._listeners.name} with workers {pids} (Ctrl-C ends them, SIGHUP reloads)")
        self._notifier.ready()

    def _give_up(self, reason: str, status: int) -> None:
        """A candidate has failed: the workers that there are go on, if there are any."""
        self._is_reloading = False
        self._retire_candidates()
        if not self._has_served:
            say(f"not started: {reason}")
            self._status = status
            self._stop(signal.SIGQUIT, CLEAN_UP_SECONDS)
            return
        say(f"not reloaded: {reason}; the workers that there are go on")
        self._notifier.ready()
        for place in self._places:
            if place.worker is None:
                self._replace(place)

    def _retire_candidates(self) -> None:
        for place in self._places:
            if place.candidate is not None:
                self._retire(place.candidate)
                place.candidate = None

    # One worker -----------------------------------------------------------------------------------------------------

    def _start(self, place: _Place) -> WorkerProcess | None:
        try:
            self._listeners.take_up(place.number)
            worker = WorkerProcess(
                dataclasses.replace(self._application, io_cpus=place.io_cpus),
                self._listeners.of_worker(place.number),
                place.cpu,
                on_serving=self._on_serving,
                on_end=self._on_end,
            )
        except OSError as error:
            say(f"worker {place.number + 1} cannot be started: {error}")
            return None
        self._living.add(worker)
        return worker

    def _retire(self, worker: WorkerProcess) -> None:
        worker.retire(signal.SIGTERM, self._application.graceful_timeout + CLEAN_UP_SECONDS)

    def _on_serving(self, worker: WorkerProcess) -> None:
        if self._is_reloading and any(place.candidate is worker for place in self._places):
            self._on_candidate_serving()

    def _on_end(self, worker: WorkerProcess) -> None:
        self._living.discard(worker)
        if self._is_stopping and not self._is_hurried and not self._status and worker.status > 0:
            # The application has failed while it was shut down, and has said so.
            self._status = worker.status
        for place in self._places:
            if place.candidate is worker:
                place.candidate = None
                self._give_up(f"the new worker of process {worker.pid} {worker.end}", max(worker.status, 0) or 1)
            elif place.worker is worker:
                place.worker = None
                self._on_death(place, worker)
        self._end_if_alone()

    def _on_death(self, place: _Place, worker: WorkerProcess) -> None:
        if self._is_stopping:
            return
        served = 0.0 if worker.serving_since is None else asyncio.get_running_loop().time() - worker.serving_since
        place.failures = 0 if served >= _STEADY_SECONDS else place.failures + 1
        say(f"worker {place.number + 1} (process {worker.pid}) {worker.end}")
        if not self._is_reloading:
            self._replace(place)

    def _replace(self, place: _Place) -> None:
        """Start a worker after a pause, which is the longer the more of them have died in this place."""
        pause = min(2.0 ** (place.failures - 1), _LONGEST_PAUSE) if place.failures else 0.0
        if pause:
            say(f"worker {place.number + 1} is started again in {pause:g} s")
            if not self._listeners.are_shared and any(other.worker for other in self._places):
                # What came to its socket meanwhile would wait.
                self._listeners.give_up(place.number)

        def start() -> None:
            place.timer = None
            place.worker = self._start(place)
            if place.worker is None:
                place.failures += 1
                self._replace(place)

        place.stop_waiting()
        place.timer = asyncio.get_running_loop().call_later(pause, start)

    # The end --------------------------------------------------------------------------------------------------------

    def _on_stop(self) -> None:
        if not self._is_stopping:
            self._notifier.stopping()
            self._stop(signal.SIGTERM, self._application.graceful_timeout + CLEAN_UP_SECONDS)

    def _on_hurry(self) -> None:
        if self._is_hurried:
            for worker in self._living:
                worker.kill()
            return
        self._is_hurried = True
        self._notifier.stopping()
        self._stop(signal.SIGQUIT, CLEAN_UP_SECONDS)

    def _stop(self, number: signal.Signals, patience: float) -> None:
        self._is_stopping = True
        self._is_reloading = False
        for place in self._places:
            place.stop_waiting()
            place.candidate = None
        # Whoever comes now is refused at once; the workers close theirs.
        self._listeners.close()
        for worker in self._living:
            worker.retire(number, patience)
        self._end_if_alone()

    def _end_if_alone(self) -> None:
        if self._is_stopping and not self._living and not self._ended.done():
            self._ended.set_result(None)
