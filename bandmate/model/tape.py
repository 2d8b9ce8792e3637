"""What a player remembers of its columns: the cells that complete frames, and how they are shown to itself."""

import dataclasses

import torch
from torch import Tensor

from bandmate.model.sampling import Sampler
from bandmate.model.tokens import MISSING


@dataclasses.dataclass
class Tape:
    """Takes columns one by one and gives the frames that they complete. Consumed by use.

    recent: [B, K, K - 1] the last columns, MISSING where not generated. empty: [B, K] ids shown in cells without a
    frame. start: the first column; column: the next one.
    """

    recent: Tensor
    empty: Tensor
    codes: int
    start: int
    column: int

    @classmethod
    def begin(cls, empty: Tensor, codes: int, column: int) -> "Tape":
        """A player of B rows about to emit ``column``."""
        batch, levels = empty.shape
        return cls(empty.new_full((batch, levels, levels - 1), MISSING), empty, codes, column, column)

    def append(self, column: Tensor) -> tuple[Tensor, Tensor | None]:
        """column [B, K], ids -> as the next step sees it [B, K], and the frame [B, K] it completes, if any.

        A frame one of whose cells is no code comes back as MISSING at all levels.
        """
        levels, at = column.shape[1], self.column
        behind = at - torch.arange(levels, device=column.device)
        known = torch.where(column >= self.codes, MISSING, column)
        columns = torch.cat([self.recent, known[:, :, None]], dim=2)  # oldest first
        self.recent, self.column = columns[:, :, 1:], at + 1
        shown = torch.where(behind < self.start, self.empty, column)
        if at - (levels - 1) < self.start:
            return shown, None
        frame = columns.diagonal(dim1=1, dim2=2)  # level l was emitted l columns after level 0
        return shown, torch.where((frame == MISSING).any(1, keepdim=True), MISSING, frame)


@dataclasses.dataclass(kw_only=True)
class Player:
    """A player in mid-stream; consumed by use. With guidance there is a second set of rows: the same player, deaf.

    instrument: [B]. heard: frames of input so far. rows: B, or 2 B with guidance.
    """

    instrument: Tensor
    tape: Tape
    heard: int
    rows: int

    @property
    def column(self) -> int:
        return self.tape.column

    @property
    def batch(self) -> int:
        return len(self.instrument)

    def check(self, guided: bool) -> None:
        """ValueError for guidance without the rows that it needs."""
        if guided and self.rows == self.batch:
            raise ValueError("this player was begun without guidance: pass guided=True to init_state")

    def guided(self, logits: Tensor, sampler: Sampler) -> Tensor:
        """Logits of all rows [R, K, V] -> of the players [B, K, V]."""
        deaf = logits[self.batch :]
        return sampler.guide(logits[: self.batch], deaf) if len(deaf) else logits


def joined(frames: list[Tensor | None], like: Tensor) -> Tensor:
    """The frames there are, [B, K, m]; ``like`` [B, K] gives the shape where there are none."""
    done = [frame for frame in frames if frame is not None]
    return torch.stack(done, dim=2) if done else like.new_empty(*like.shape, 0)
