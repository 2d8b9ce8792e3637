"""A musician on a JACK server: plays clicks, records what comes back, on one sample clock.

python jack_robot.py SERVER FILE. The file gets, block by block, float32 rows of what was sent and what was heard;
before them the number of the block's first frame and its length, as int64. Ends with the server, or when its input
is closed.
"""

import contextlib
import queue
import select
import sys

import jack
import numpy as np

SPACING = (4_001, 9_001)  # frames from one click to the next


class Robot:
    def __init__(self, server: str) -> None:
        self.client = jack.Client("robot", servername=server, no_start_server=True)
        self.mouth = self.client.outports.register("mouth")
        self.ear = self.client.inports.register("ear")
        self.blocks: queue.SimpleQueue[tuple[int, np.ndarray]] = queue.SimpleQueue()
        self.gone = False
        self._rng = np.random.default_rng(0)
        self._due = SPACING[0]  # frames from now
        self.client.set_process_callback(self.process)
        self.client.set_shutdown_callback(self.shutdown)

    def process(self, frames: int) -> None:
        block = np.zeros((2, frames), dtype=np.float32)
        while self._due < frames:
            block[0, self._due] = 0.5
            self._due += int(self._rng.integers(*SPACING))
        self._due -= frames
        self.mouth.get_array()[:] = block[0]
        block[1] = self.ear.get_array()
        self.blocks.put((self.client.last_frame_time, block))

    def shutdown(self, status: object, reason: str) -> None:
        self.gone = True


def main(server: str, path: str) -> None:
    robot = Robot(server)
    with open(path, "wb", buffering=0) as file, robot.client:
        print("ready", flush=True)
        while not robot.gone:
            with contextlib.suppress(queue.Empty):
                while True:
                    start, block = robot.blocks.get_nowait()
                    file.write(np.array([start, block.shape[1]], np.int64).tobytes() + block.tobytes())
            if select.select([sys.stdin], [], [], 0.02)[0]:
                return


if __name__ == "__main__":
    main(*sys.argv[1:])
