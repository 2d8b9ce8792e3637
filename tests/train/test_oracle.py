"""The oracle ladder: what is told is true, comes at the right column, and is what makes the difference."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bandmate.configs import duet_tiny
from bandmate.data.stems import Stem, Track
from bandmate.data.tokens import TokenStore, write_store
from bandmate.model.duet import Duet
from bandmate.model.duet_network import Visibility
from bandmate.model.recall import OFFSETS
from bandmate.model.teacher import cross_entropy
from bandmate.sweep import oracle
from bandmate.train import presets, runs
from bandmate.train.oracle import (
    BEAT_RATES,
    OracleConfig,
    OracleDuet,
    beat_phase,
    chroma,
    tell,
    told_width,
)

SCRIPT = Path(__file__).resolve().parents[2] / "runs" / "oracle.py"
FRAMES, FEATURES, NOTES = 320, 176, 4
SETTINGS = [
    "frames=24", "pre=4", "batch=4", "steps_per_epoch=20", "warmup=5", "rate=0.02", "quicker=3.0",
    "precision=32-true", "hidden_history=0", "hidden_spans=0",
]  # fmt: skip


def song(index: int) -> Track:
    """Two stems that are told the same notes, each frame a new one; a beat every 0.4 s. The last two songs are for tests."""
    notes = np.random.default_rng(index).integers(0, NOTES, FRAMES)
    audio = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(FRAMES * 640) / 32_000)
    audio[::640] = notes / 64
    stems = tuple(Stem(audio.astype(np.float32), 4 * place) for place in range(2))
    meta = {"beats": [0.1 + 0.4 * beat for beat in range(16)]}
    return Track(f"t{index}", f"song{index}", f"c{index}", "test" if index > 3 else "train", stems, meta=meta)


def notes(audio: np.ndarray) -> np.ndarray:
    return np.round(audio[:, ::640] * 64).astype(np.int64)


def encode(audio: np.ndarray) -> np.ndarray:
    """Level 1 is the note; the others are always the same."""
    return np.stack([notes(audio)] + [np.zeros_like(notes(audio))] * 3, axis=1)


def listen(audio: np.ndarray) -> np.ndarray:
    """A loud band at the note's pitch class, in the fifth octave."""
    return (40 + 120 * (np.arange(FEATURES) == 48 + 3 * notes(audio)[..., None])).astype(np.uint8)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """y cannot be told from its own past, nor from the past of x; of x at the same moment it is a copy."""
    folder = tmp_path_factory.mktemp("store")
    assert not write_store([song(index) for index in range(6)], encode, listen, folder, submixes=2, codes=32)
    return folder


@pytest.fixture(scope="module")
def begin(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A duet that has hardly begun to learn."""
    folder = tmp_path_factory.mktemp("begin")
    config = dataclasses.replace(
        presets.duet_tiny_run(), steps=1, batch=1, frames=20, steps_per_epoch=1, validate_every=100
    )
    runs.train(config, store, folder, resume=False, progress=False)
    return folder


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("oracle_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_phase_is_that_of_the_beats_and_goes_on_beyond_them() -> None:
    beats = [1.01 + 0.5 * beat for beat in range(4)]  # in the middle of a frame, every 25 frames
    sine, cosine = beat_phase(beats, 25, 200).split(len(BEAT_RATES), dim=1)
    one, quarter, double = (BEAT_RATES.index(rate) for rate in (1.0, 0.25, 2.0))
    assert sine[[0, 25, 50, 100, 175], one].abs().max() < 1e-4  # frame 50 is the first beat
    assert cosine[[0, 25, 50, 100, 175], one].min() > 1 - 1e-4
    torch.testing.assert_close(sine[25:75, double].abs().max(), torch.tensor(1.0), atol=0.02, rtol=0)
    assert [round(float(value)) for value in sine[[25, 50, 75, 100], quarter]] == [0, 1, 0, -1]
    assert not beat_phase([3.0], 0, 5).any()


def test_chroma_names_the_pitch_class_whatever_the_octave_and_the_level() -> None:
    x = torch.full((1, 3, FEATURES), 20, dtype=torch.uint8)
    x[0, 0, 24 + 3], x[0, 1, 72 + 3] = 100, 160  # C, nine semitones below A and so three above it
    found = chroma(x)[0]
    assert found[:2].argmax(dim=1).tolist() == [3, 3]
    assert found[2].abs().max() < 1e-5  # nothing sounds more than the rest
    assert found.mean(-1).abs().max() < 1e-5
    torch.testing.assert_close(chroma(x + 20)[0], found, atol=1e-3, rtol=1e-3)


def test_what_is_told_belongs_to_the_columns_own_frame(store: Path) -> None:
    tokens = TokenStore(store, "train")
    examples = [tokens.window(0, row, 24, 4, 50) for row in range(3)]
    x = torch.from_numpy(np.stack([example.x_features for example in examples]))
    told = ("beat", "chroma")
    words = tell(told, tokens, examples, x, 4)
    assert words.shape == (3, 24, told_width(told))
    phase, pitch = words.split([told_width((name,)) for name in told], dim=2)
    for row, example in enumerate(examples):
        entry = next(entry for entry in tokens.entries if entry.id == example.track)
        torch.testing.assert_close(phase[row, 5], beat_phase(entry.beats, example.start + 5, 1)[0])
        for part, later in enumerate(OFFSETS):
            heard = x[row : row + 1, 4 + 5 + later : 4 + 6 + later]
            torch.testing.assert_close(pitch[row, 5].chunk(2)[part], chroma(heard)[0, 0])
    assert tell((), tokens, examples, x, 4).shape == (3, 24, 0)
    with pytest.raises(ValueError, match="no oracle 'weather'; known are beat, chroma, input"):
        told_width(("beat", "weather"))


def test_an_oracle_begins_as_the_plain_duet_and_only_it_knows_the_future(store: Path) -> None:
    torch.manual_seed(0)
    plain, config = Duet(duet_tiny()).eval(), duet_tiny()
    for block in plain.played:  # so that something is fetched
        torch.nn.init.normal_(block.attention_out.weight, std=0.3)
    tokens = TokenStore(store, "train")
    example = tokens.window(0, 0, 24, 4, 50)
    x = torch.from_numpy(np.stack([example.x_features]))
    later = x.clone()
    later[:, 4 + 10 :] = 255 - later[:, 4 + 10 :]
    view = Visibility(-4, torch.arange(24)[None] - 5, torch.zeros(1, dtype=torch.bool))
    inputs = torch.full((1, 4, 24), plain.pad), torch.tensor([0]), view
    for told, knows in (((), False), (("chroma",), True), (("input",), True)):
        model = OracleDuet(config, told).eval()
        model.load_state_dict(plain.state_dict(), strict=False)
        with torch.inference_mode():
            with model.telling(tell(told, tokens, [example], x, 4)):
                torch.testing.assert_close(model(x, *inputs), plain(x, *inputs))
            if model.oracle is not None:
                model.oracle.weight.normal_()
            assert model.recall is not None
            model.recall.now.weight.normal_()
            logits = []
            for heard in (x, later):
                with model.telling(tell(told, tokens, [example], heard, 4)):
                    logits.append(model(heard, *inputs))
        early = (
            (logits[0] - logits[1]).abs().amax((0, 2, 3))[7:15]
        )  # their horizons are 2 ... 9, before what differs
        assert bool((early > 1e-4).any()) == knows
        assert (early[: 10 - 3 - 7] == 0).all() or not knows


def test_the_input_is_told_by_way_of_recall_alone() -> None:
    with pytest.raises(ValueError, match="by way of recall, which this duet was made without"):
        OracleDuet(dataclasses.replace(duet_tiny(), recall=False), ("input",))
    assert OracleDuet(duet_tiny(), ("input",)).oracle is None


def test_all_rungs_see_the_same_windows_and_the_new_layer_has_its_own_rate(store: Path) -> None:
    base = runs.override(OracleConfig(model=duet_tiny()), SETTINGS)
    made = [dataclasses.replace(base, told=told).build(store) for told in ((), ("beat", "input"))]
    (control, nothing), (told, words) = (training.draw_part(3, 0) for training in made)
    assert nothing.shape[2] == 0
    assert words.shape[2] == told_width(("beat", "input"))
    for one, other in zip(control, told, strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    optimizer = made[1].configure_optimizers()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    assert len({id(p) for p in parameters}) == len(parameters) == len(list(made[1].model.parameters()))
    assert optimizer.param_groups[-1]["params"] == [made[1].model.oracle.weight]


@pytest.fixture(scope="module")
def climbed(store: Path, begin: Path, script: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A ladder whose rung "beat" was killed after 20 of its 60 steps and then gone on with: arguments and report."""
    out = tmp_path_factory.mktemp("ladder")
    args = script.Arguments(store, str(begin), out, steps=60, windows=3, set=SETTINGS)
    script.claim(args)
    torch.manual_seed(0)
    half = script.config_of(args, "beat").build(store)
    half.loop = dataclasses.replace(half.loop, steps=20)
    runs.begin_with(half, str(begin))
    runs.fit(half, runs.remember(half.config, out / "beat"), progress=False)
    return args, script.ladder(args)


def row_of(
    result: dict[str, Any], rung: str, t_f: float, level: int = 1, history: str = "known"
) -> dict[str, Any]:
    wanted = {"rung": rung, "t_f": t_f, "level": level, "history": history}
    (row,) = [row for row in result["rows"] if {key: row[key] for key in wanted} == wanted]
    return row


def test_the_true_input_is_worth_something_and_the_beat_of_random_notes_is_not(climbed: Any) -> None:
    _, result = climbed
    control, told = row_of(result, "control", -0.4), row_of(result, "input", -0.4)
    assert control["nats"]["mean"] > 0.95 * np.log(NOTES)
    assert told["nats"]["mean"] < 0.5 * np.log(NOTES)
    assert told["gain"]["low"] > 0.3
    assert row_of(result, "chroma", -1.0)["gain"]["low"] > 0.3
    assert abs(row_of(result, "beat", -0.4)["gain"]["mean"]) < 0.15
    assert row_of(result, "begin", -0.4)["nats"]["mean"] > control["nats"]["mean"]
    curve = result["gain_in_training"]["input"]
    assert len(curve) == 5
    assert curve[-1] > curve[0]


def test_a_rung_is_gone_on_with_and_what_is_done_is_kept(climbed: Any, script: Any, monkeypatch: Any) -> None:
    args, result = climbed
    assert len(oracle.losses(args.out / "beat")) == len(oracle.losses(args.out / "control")) == 60
    monkeypatch.setattr(runs, "train", None)  # nothing is trained again
    assert script.ladder(args) == result
    assert (args.out / "ladder.md").read_text(encoding="utf-8") == oracle.markdown(result)
    with pytest.raises(ValueError, match="another --out"):
        script.ladder(dataclasses.replace(args, steps=61))
    monkeypatch.setattr(script, "fingerprint", lambda model: "trained on meanwhile")
    with pytest.raises(ValueError, match="was begun with begins = "):
        script.ladder(args)


def test_a_measured_rung_is_the_mean_of_a_plain_forward_pass(climbed: Any, store: Path, script: Any) -> None:
    args, _ = climbed
    config = script.config_of(args, "input")
    module = config.build(store)
    module.load_state_dict(runs.read_run(args.out / "input")[1])
    tokens, windows = TokenStore(store, "test"), oracle.windows_of(config, 3, 4)
    (example,) = oracle.draw_examples(tokens, windows)[0][4:5]
    x, codes, instrument, previous = oracle.window_inputs([example], module.model.pad)
    horizon = torch.arange(24) // 5 * 5 - 20
    model = module.model.eval()
    view = Visibility(-4, horizon[None], torch.tensor([False]))
    found = oracle.Measured.load(args.out / "input" / "nats.npz").nats[:, 1, 4]
    hidden = torch.where(previous == model.pad, previous, model.mask)
    for history, values in zip((previous, hidden), found, strict=True):
        with torch.inference_mode(), model.telling(tell(config.told, tokens, [example], x, 4)):
            logits = model(x, history, instrument, view)
        np.testing.assert_allclose(values, cross_entropy(logits, codes)[0], rtol=1e-4)
    assert not np.allclose(found[0], found[1], rtol=1e-3)


def test_a_known_share_is_reported() -> None:
    songs = np.repeat([f"song{index}" for index in range(6)], 2)
    part = np.repeat(np.linspace(0.9, 1.1, 6), 2)
    at = [
        [3.0 + 0.4 * part, 3.0 + 0.2 * part, np.full(12, 3.0)],
        [3.0 + 0.3 * part, 3.0 + 0.2 * part, np.full(12, 3.0)],
    ]
    control, told = (
        oracle.Measured(np.stack([np.stack(rows)[:, :, None].repeat(4, axis=2)] * 2), songs) for rows in at
    )
    result = oracle.report({"control": control, "beat": told}, {"beat": [0.0, 0.1]})
    row = row_of(result, "beat", -1.0, history="hidden")
    assert row["gain"]["mean"] == pytest.approx(0.1)
    assert row["way"]["mean"] == pytest.approx(0.4)
    assert [row["share"][key] for key in ("mean", "low", "high")] == pytest.approx([0.25] * 3)
    assert row_of(result, "beat", -0.4, level=0)["share"]["mean"] == pytest.approx(0)
    assert row_of(result, "beat", 1.0)["share"] is None  # there is no way to go
    text = oracle.markdown(result)
    assert "| beat | −1 | 3.300 [3." in text
    assert "| +0.100 [+0.0" in text
    assert "| 0.25 [0.25, 0.25] |" in text
    other = dataclasses.replace(told, songs=songs[::-1])
    with pytest.raises(ValueError, match="other songs"):
        oracle.report({"control": control, "beat": other}, {})


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"--rungs": "beat beet"}, "there is no oracle 'beet'"),
        ({"--data": "mistyped"}, "mistyped"),
        ({"--init": "nobody"}, "there is no model 'nobody'"),
        ({"--split": "valid"}, "fewer than two songs"),
    ],
)
def test_a_mistake_is_told_before_anything_is_trained(
    typed: dict[str, str],
    says: str,
    store: Path,
    begin: Path,
    tmp_path: Path,
    script: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = {
        "--data": str(store),
        "--init": str(begin),
        "--out": str(tmp_path / "out"),
        "--set": " ".join(SETTINGS),
    }
    options = [word for name, words in (usual | typed).items() for word in (name, *words.split())]
    monkeypatch.setattr("sys.argv", ["oracle.py", *options])
    monkeypatch.setattr(runs, "train", None)
    with pytest.raises(SystemExit) as leave:
        script.main()
    assert leave.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("oracle: ")
    assert says in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()
