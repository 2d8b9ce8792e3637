"""The player's side of a device: starts the process that owns it, watches it, brings it back."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from multiprocessing import shared_memory
from typing import Any

from bandmate.stream.devices import DeviceFacts, DeviceInfo, DeviceLost, DeviceRequest
from bandmate.stream.exchange import Count, Shared

ANSWER = 20.0  # seconds that a process may take to open its device
RUNS = 20.0  # seconds until an open device must have run for the first time
SILENT = 2.0  # seconds without a callback after which a device counts as lost
LEAVE = 3.0  # seconds that a process may take to end
TURN = 0.002  # seconds between two looks at the ring


class DeviceProcess:
    """One child process: lines of JSON from it, one order to it, its end."""

    def __init__(self, *arguments: str) -> None:
        environment = os.environ | {"JACK_NO_START_SERVER": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bandmate.stream.device_process", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # sound libraries talk to themselves
            env=environment,
            start_new_session=True,  # Ctrl-C is the player's to handle
        )
        self._rest = b""

    def answer(self, seconds: float = ANSWER) -> dict[str, Any]:
        """The next line. ValueError, ImportError or DeviceLost for what it complains of."""
        assert self._process.stdout is not None
        until = time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = max(0.0, until - time.monotonic())
            ready = select.select([self._process.stdout], [], [], left)[0]
            new = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            if not new:
                raise DeviceLost("the sound device does not answer")
            self._rest += new
        line, _, self._rest = self._rest.partition(b"\n")
        told = json.loads(line)
        if "error" in told:
            kinds: dict[str, type[Exception]] = {"use": ValueError, "missing": ImportError}
            raise kinds.get(told["kind"], DeviceLost)(told["error"])
        return told

    def order(self, **what: Any) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write((json.dumps(what) + "\n").encode())
            self._process.stdin.flush()

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def end(self, patience: float = LEAVE) -> None:
        """Asks it to end, kills it when it does not."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def list_devices() -> list[DeviceInfo]:
    """Asked in a process of its own: PortAudio sees no device that comes after it was loaded."""
    process = DeviceProcess("list")
    try:
        return [DeviceInfo(**device) for device in process.answer()["devices"]]
    except ImportError as error:
        raise DeviceLost(str(error)) from error
    finally:
        process.end()


class ChildDevice:
    """A :class:`~bandmate.stream.devices.Device` in a supervised process."""

    facts: DeviceFacts

    def __init__(self, request: DeviceRequest) -> None:
        """Opens it. ValueError for names and rates that are none; DeviceLost for all else, in one sentence."""
        self._request, self.trouble, self._open = request, "", False
        self._memory: shared_memory.SharedMemory | None = None
        self._process = DeviceProcess(json.dumps(vars(request)))
        try:
            self._connect(position=0, since_ns=0)
        except BaseException as error:
            self.close()
            if isinstance(error, ImportError):
                raise DeviceLost(str(error)) from error
            raise

    def _connect(self, position: int, since_ns: int) -> None:
        rate = self._process.answer()["rate"]
        if self._memory is None:
            size = Shared.size(Shared.capacity(rate))
            self._memory = shared_memory.SharedMemory(create=True, size=size)
            self.shared = Shared(self._memory.buf, Shared.capacity(rate))
            self.shared.reset()
        elif rate != self.facts.rate:
            raise DeviceLost(f"the device came back with {rate} Hz instead of {self.facts.rate} Hz")
        before = self.shared.counts[Count.CALLBACKS]
        self._process.order(memory=self._memory.name, position=position, since_ns=since_ns)
        told = self._process.answer()["facts"]
        self._await_callback(before)
        block = int(self.shared.counts[Count.BLOCK])
        self.facts = DeviceFacts(**{**told, "block": block, "doubts": tuple(told["doubts"])})
        self._open = True

    def _await_callback(self, before: int) -> None:
        until = self.seconds() + RUNS
        while self.shared.counts[Count.CALLBACKS] == before:
            if self._process.ended or self.seconds() > until:
                raise DeviceLost("the sound device opened but does not run")
            time.sleep(TURN)

    @property
    def lost(self) -> bool:
        return not self._open or self._process.ended or self._silence() > SILENT

    def _silence(self) -> float:
        """Seconds since the last callback."""
        return self.seconds() - int(self.shared.counts[Count.LAST_NS]) / 1e9

    def reopen(self) -> bool:
        self._open = False
        self._process.end()
        position, since = int(self.shared.counts[Count.CLAIMED]), int(self.shared.counts[Count.LAST_NS])
        self._process = DeviceProcess(json.dumps(vars(self._request) | {"rate": self.facts.rate}))
        try:
            self._connect(position, since)
        except (ValueError, ImportError, DeviceLost) as error:
            self.trouble = str(error)
            return False
        return True

    def wait(self) -> None:
        time.sleep(TURN)

    def seconds(self) -> float:
        return time.monotonic()

    def position(self) -> int:
        claimed = int(self.shared.counts[Count.CLAIMED])
        return claimed + round(self._silence() * self.facts.rate) if self.lost else claimed

    def close(self) -> None:
        self._process.end()
        if self._memory is not None:
            memory, self._memory = self._memory, None
            self.shared.release()
            memory.unlink()
            try:
                memory.close()
            except BufferError:  # somebody still looks at it: it goes with this process
                memory.close = lambda: None  # type: ignore[method-assign]
