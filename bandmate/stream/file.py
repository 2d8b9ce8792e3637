"""A file played through a session: any rate in, the same rate and length out, in constant memory."""

from collections.abc import Callable

import numpy as np

from bandmate.audio.io import AudioReader, AudioWriter
from bandmate.audio.resample import StreamResampler
from bandmate.stream.limiter import limit
from bandmate.stream.session import SampleQueue, Session

BLOCKS_PER_SECOND = 10

Listener = Callable[[np.ndarray], None]


class FileOutput:
    """Takes the output at the engine's rate and writes it at the file's: to the sample as long as the input.

    ``mix`` gets input + output, plainly summed. Nothing is written beyond the input that is known, so the two
    can never differ in length.
    """

    def __init__(self, out: AudioWriter, mix: AudioWriter | None, engine_rate: int, file_rate: int) -> None:
        self._out, self._mix = out, mix
        self._back = StreamResampler(engine_rate, file_rate)
        self._input, self._output = SampleQueue(), SampleQueue()
        self.peak = 0.0

    def heard(self, block: np.ndarray) -> None:
        """Input samples at the file's rate."""
        self._input.put(block)

    def played(self, samples: np.ndarray) -> None:
        """Output samples at the engine's rate."""
        self._output.put(self._back.push(samples))
        self._write(min(len(self._input), len(self._output)))

    def finish(self) -> None:
        """Writes the rest, as much as there was input."""
        self._output.put(self._back.flush())
        # Twice rounded, the length may miss by a sample or two.
        self._output.put(np.zeros(max(0, len(self._input) - len(self._output)), dtype=np.float32))
        self._write(len(self._input))

    def _write(self, count: int) -> None:
        if not count:
            return
        heard, played = self._input.take(count), limit(self._output.take(count))
        self.peak = max(self.peak, float(np.abs(played).max()))
        self._out.write(played)
        if self._mix is not None:
            self._mix.write(limit(heard + played))


def play_file(
    reader: AudioReader,
    session: Session,
    output: FileOutput,
    *,
    on_input: Listener | None = None,
    on_output: Listener | None = None,
    progress: Callable[[float], None] | None = None,
) -> int:
    """Plays the whole file through the session; returns the samples read, at the file's rate.

    ``on_input`` and ``on_output`` get every block at the engine's rate, ``progress`` the seconds done.
    """
    rate = session.engine.geometry.rate
    forth = StreamResampler(reader.rate, rate)
    total = 0

    def hear(samples: np.ndarray) -> None:
        if on_input is not None:
            on_input(samples)
        emit(session.push(samples))

    def emit(samples: np.ndarray) -> None:
        if on_output is not None:
            on_output(samples)
        output.played(samples)

    for block in reader.blocks(max(1, reader.rate // BLOCKS_PER_SECOND)):
        total += len(block)
        output.heard(block)
        hear(forth.push(block))
        if progress is not None:
            progress(total / reader.rate)
    hear(forth.flush())
    emit(session.finish())
    output.finish()
    return total
