"""What a musician sees and presses while ``bandmate jam`` plays."""

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from bandmate.stream.exchange import Count
from bandmate.stream.guard import decibels

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bandmate.stream.live import LiveStream

PER_SECOND = 4  # pictures
PLAIN_EVERY = 10.0  # seconds between two lines without a terminal
METER_FLOOR = -60.0  # dB
BAR = 40  # characters
KEYS = "m mute   space stop and start   q quit"


class Screen:
    """Shows a live stream from a thread of its own, and takes the keys. ``end`` is called for q."""

    def __init__(self, stream: "LiveStream", end: Callable[[], None]) -> None:
        self.stream, self._end = stream, end
        self.message = ""
        self._told = self._howls = 0

    def press(self, key: str) -> None:
        """One key. Mute and stop reach the device within a block."""
        counts = self.stream.device.shared.counts
        if key == "m":
            counts[Count.MUTED] = not counts[Count.MUTED]
        elif key == " ":
            self.stream.stop(not self.stream.stopped)
        elif key in ("q", "Q", "\x04"):
            self._end()

    def note(self, text: str) -> None:
        """Something that happened: a line that stays."""
        self.message = text
        print(f"bandmate jam: {text}", file=sys.stderr, flush=True)

    def watch(self) -> None:
        """Warns, once, when the guard has found feedback."""
        if self.stream.guard.howls and not self._howls:
            self.note("feedback: turned down; use headphones or move the microphone, then press space twice")
        self._howls = self.stream.guard.howls

    def state(self) -> str:
        counts = self.stream.device.shared.counts
        if self.stream.device.lost:
            return "device gone"
        if self.stream.stopped:
            return "stopped"
        return "muted" if counts[Count.MUTED] else "playing"

    def levels(self) -> tuple[float, float]:
        """Peaks since the last look, in dB: heard, sent."""
        heard, sent = self.stream.levels
        self.stream.levels[:] = [0.0, 0.0]
        return decibels(heard), decibels(sent)

    def line(self) -> str:
        """Everything on one line, for where there is no terminal."""
        stream, tracker = self.stream, self.stream.session.tracker
        heard, sent = self.levels()
        return (
            f"{stream.seconds:8.1f} s  {self.state()}  in {heard:.0f} dB  out {sent:.0f} dB"
            f"  step {1000 * tracker.steps.quantile(0.5):.0f} ms (p99 {1000 * tracker.steps.quantile(0.99):.0f})"
            f"  slack {1000 * stream.slack:.0f} ms  misses {tracker.misses}"
        )

    def picture(self) -> "RenderableType":
        """The display: meters, budget, what was missed, keys."""
        from rich.table import Table

        stream, tracker = self.stream, self.stream.session.tracker
        heard, sent = self.levels()
        period = stream.session.engine.schedule.period
        p50, p99 = (tracker.steps.quantile(q) for q in (0.5, 0.99))
        grid = Table.grid(padding=(0, 2))
        grid.add_row("in", meter(heard), f"{heard:6.1f} dB")
        grid.add_row("out", meter(sent), f"{sent:6.1f} dB")
        words = f"{1000 * p50:.0f} ms, p99 {1000 * p99:.0f} of {1000 * period:.0f}"
        grid.add_row("step", budget(p50, p99, period), words)
        minutes, seconds = divmod(int(stream.seconds), 60)
        counts = stream.device.shared.counts
        grid.add_row(
            "",
            f"{minutes}:{seconds:02d}  [bold]{self.state()}[/]  slack {1000 * stream.slack:.0f} ms",
            f"{tracker.misses} missed, {int(counts[Count.UNDERRUNS])} gaps",
        )
        grid.add_row("", f"[dim]{KEYS}[/]", f"[dim]{self.message[:60]}[/]")
        return grid


def meter(level: float) -> str:
    """A bar from -60 to 0 dB: green, yellow from -12 dB, red from -1 dB."""
    full = round(BAR * min(1.0, max(0.0, 1 - level / METER_FLOOR)))
    colour = "red" if level > -1 else "yellow" if level > -12 else "green"
    return f"[{colour}]{'█' * full}[/][dim]{'·' * (BAR - full)}[/]"


def budget(p50: float, p99: float, period: float) -> str:
    """A bar of the time from call to call: what a call takes, usually and at worst, and what is left."""
    usual, worst = (round(BAR * min(1.0, seconds / period)) for seconds in (p50, p99))
    colour = "red" if p99 > period else "cyan"
    return f"[{colour}]{'█' * usual}{'▒' * (worst - usual)}[/][dim]{'·' * (BAR - worst)}[/]"


@contextlib.contextmanager
def display(stream: "LiveStream", end: Callable[[], None]) -> Iterator[Screen]:
    """A screen that runs while the block does: a live display and keys on a terminal, a line now and then elsewhere."""
    screen, over = Screen(stream, end), threading.Event()
    with contextlib.ExitStack() as stack:
        keys = stack.enter_context(single_keys())
        show = stack.enter_context(pictures() if sys.stdout.isatty() else lines())
        thread = threading.Thread(target=run, args=(screen, over, keys, show), name="display", daemon=True)
        thread.start()
        try:
            yield screen
        finally:
            over.set()
            thread.join()


def run(screen: Screen, over: threading.Event, keys: int | None, show: Callable[[Screen], None]) -> None:
    """Shows the screen a few times a second, and acts on each key at once."""
    while not over.is_set():
        screen.watch()
        show(screen)
        until = time.monotonic() + 1 / PER_SECOND
        while (left := until - time.monotonic()) > 0 and not over.is_set():
            if keys is None:
                over.wait(left)
            elif select.select([keys], [], [], min(left, 0.05))[0]:
                for key in os.read(keys, 64).decode(errors="ignore"):
                    screen.press(key)


@contextlib.contextmanager
def single_keys() -> Iterator[int | None]:
    """The keyboard, key by key and without an echo; None where there is none."""
    if not sys.stdin.isatty():
        yield None
        return
    import termios
    import tty

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    try:
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


@contextlib.contextmanager
def pictures() -> Iterator[Callable[[Screen], None]]:
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        yield lambda screen: live.update(screen.picture(), refresh=True)


@contextlib.contextmanager
def lines() -> Iterator[Callable[[Screen], None]]:
    last: list[Any] = [None]

    def show(screen: Screen) -> None:
        now = time.monotonic()
        if last[0] is None or now - last[0] >= PLAIN_EVERY:
            last[0] = now
            print(screen.line(), flush=True)

    yield show
