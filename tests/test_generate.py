"""The oracle, and the engine against it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bandmate.generate import frames_needed, generate, generate_windows
from bandmate.spec import StreamSpec
from bandmate.stream.engine import Engine
from tests.stream.fakes import FakeCodec, FakeModel, FakeSampler, music

SPECS = [(-20, 5), (-4, 1), (0, 1), (0, 7), (5, 5), (50, 10), (-50, 50), (3, 2)]


def hear(audio: np.ndarray, frames: int) -> Tensor:
    """The fake's features of the audio, followed by silence to make ``frames`` frames at least."""
    padded = np.zeros(max(frames, -(-len(audio) // 640)) * 640, np.float32)
    padded[: len(audio)] = audio
    model = FakeModel()
    return model.hear(torch.from_numpy(padded)[None], model.init_ears(1))[0]


class Recorder(FakeModel):
    """Keeps the codes that it played."""

    def __init__(self) -> None:
        super().__init__()
        self.codes: list[Tensor] = []

    def play(self, *args: object) -> tuple:
        result = super().play(*args)  # type: ignore[arg-type]
        self.codes.append(result[0])
        return result


@pytest.mark.parametrize(("t_f", "k"), SPECS)
@pytest.mark.parametrize("first", [0, 33])
def test_engine_plays_what_the_oracle_plays(t_f: int, k: int, first: int) -> None:
    spec, audio, model = StreamSpec(t_f, k), music(1.9), Recorder()
    engine = Engine(FakeCodec(), model, spec, FakeSampler(seed=3), 7, first_column=first)
    for start in range(0, len(audio), 777):
        engine.push(audio[start : start + 777])
    engine.finish()
    frames = 95
    x = hear(audio, frames_needed(spec, frames, first_column=first))
    expected = generate(FakeModel(), x, spec, FakeSampler(seed=3), 7, frames, first_column=first)
    skipped = max(0, first - 3)
    assert expected.shape == (1, 4, frames)
    assert (expected[:, :, :first] == -1).all()
    assert (expected[:, :, first:] >= 0).all()
    assert torch.equal(torch.cat(model.codes, 2)[:, :, : frames - skipped], expected[:, :, skipped:])


@pytest.mark.parametrize(("t_f", "k"), SPECS)
def test_frames_needed(t_f: int, k: int) -> None:
    spec, asked = StreamSpec(t_f, k), []

    class Counting(FakeModel):
        def play(self, state: object, n: int, sampler: object) -> tuple:
            asked.append(state.heard)  # type: ignore[attr-defined]
            return super().play(state, n, sampler)  # type: ignore[arg-type]

    generate(Counting(), torch.zeros(1, 500, 3), spec, FakeSampler(), 0, 40)
    assert max(asked) == frames_needed(spec, 40)


def test_one_more_input_frame_changes_the_codes_and_one_too_few_is_just_less() -> None:
    spec, x = StreamSpec(0, 5), hear(music(1), 0)
    full = generate(FakeModel(), x, spec, FakeSampler(), 0, 50)
    assert torch.equal(
        generate(FakeModel(), x[:, :45], spec, FakeSampler(), 0, 50)[:, :, :46], full[:, :, :46]
    )
    other = x.clone()
    other[:, 30] += 1
    changed = generate(FakeModel(), other, spec, FakeSampler(), 0, 50)
    # Frame 30 is first heard by the call at column 35: level 0 of frame 35, level 3 of frame 32.
    assert torch.equal(changed[:, :, :32], full[:, :, :32])
    assert torch.equal(changed[:, 0, :35], full[:, 0, :35])
    assert (changed[:, 3, 32:35] != full[:, 3, 32:35]).any()


def test_batches_do_not_matter() -> None:
    x = torch.cat([hear(music(1, seed=s), 0) for s in range(5)])
    spec, ids = StreamSpec(-4, 5), [0, 4, 4, 9, 17]
    one = generate_windows(FakeModel(), x, spec, FakeSampler(seed=1), ids, 40, batch_size=1)
    three = generate_windows(FakeModel(), x, spec, FakeSampler(seed=1), ids, 40, batch_size=3)
    assert one.shape == (5, 4, 40)
    assert torch.equal(one, three)
    assert not torch.equal(one[1], one[2])
