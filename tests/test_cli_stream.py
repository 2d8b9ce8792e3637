"""``bandmate stream`` as a user meets it: files in, files out, one clear line when something is wrong."""

import dataclasses
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from bandmate import checkpoint, cli, configs
from bandmate.codec.spectral import SpectralCodec
from bandmate.commands import stream as stream_command
from bandmate.commands.parsing import parse
from bandmate.instruments import INSTRUMENTS
from bandmate.model.duet import Duet
from bandmate.model.encoder_decoder import EncoderDecoder
from bandmate.model.offline_prefix import OfflinePrefix
from bandmate.model.stemgen import StemGen
from tests.stream.fakes import FakeCodec, FakeModel, music

LOAD_BUNDLE = checkpoint.load_bundle


SAMPLING = {"temperature": 0.9, "top_k": 100, "by_t_f": {-1.0: {"top_k": 40}, -0.4: {}}}


@dataclasses.dataclass(frozen=True)
class FakeBundle:
    name: str
    codec: Any
    model: Any
    card: dict[str, Any]


def load_fake(name: str) -> FakeBundle:
    if name != "duet-small":
        raise ValueError(f"unknown model {name!r}; did you mean 'duet-small'?")
    return FakeBundle(name, FakeCodec(), FakeModel(), {"sampling": SAMPLING})


@pytest.fixture(autouse=True)
def fake_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandmate.checkpoint.load_bundle", load_fake)
    monkeypatch.setattr("bandmate.checkpoint.available", lambda: ["duet-small"])


@pytest.fixture
def song(tmp_path: Path) -> Path:
    return write(tmp_path / "song.wav", music(2.0))


def write(path: Path, samples: np.ndarray, rate: int = 32_000) -> Path:
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def run(*arguments: object) -> int:
    return cli.main(["stream", *map(str, arguments)])


def left_behind(folder: Path, *known: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p not in known)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said on stderr, once it is shown to be a single line and no traceback."""
    said = capsys.readouterr().err
    assert said.startswith("bandmate stream: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said
    return said


def test_the_report_tells_the_precision_that_was_played(
    song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    for precision in ("int8", "fp32"):
        assert (
            run(song, "-o", tmp_path / "out.wav", "--json", tmp_path / "run.json", "--precision", precision)
            == 0
        )
        told.append(json.loads((tmp_path / "run.json").read_text())["precision"])
    assert told == ["fp32", "fp32"], "there is nothing to be played in int8 here"
    monkeypatch.setattr("bandmate.stream.quick.quick", dataclasses.replace)
    assert run(song, "-o", tmp_path / "out.wav", "--json", tmp_path / "run.json") == 0
    assert json.loads((tmp_path / "run.json").read_text())["precision"] == "int8"


def test_all_outputs(song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, mix, plot, report = (tmp_path / n for n in ("out.wav", "mix.flac", "run.png", "run.json"))
    assert run(song, "-o", out, "--mix", mix, "--plot", plot, "--json", report, "--seed", 3) == 0
    heard, (played, rate), (both, _) = music(2.0), soundfile.read(out), soundfile.read(mix)
    assert rate == 32_000
    assert played.shape == heard.shape
    assert np.abs(played).max() > 0.05
    inside = np.abs(heard + played) < 0.98
    np.testing.assert_allclose(both[inside], (heard + played)[inside], atol=1e-5)
    assert np.abs(both).max() <= 1.0
    assert plot.read_bytes().startswith(b"\x89PNG")
    numbers = json.loads(report.read_text())
    assert list(numbers)[:9] == [
        "real_time_factor", "step_ms", "misses", "t_f", "k", "model", "instrument", "seed", "seconds",
    ]  # fmt: skip
    assert list(numbers["step_ms"]) == ["p50", "p95", "p99", "max"]
    assert (numbers["t_f"], numbers["k"], numbers["seed"], numbers["seconds"]) == (-0.4, 0.1, 3, 2.0)
    assert (numbers["model"], numbers["instrument"]) == ("duet-small", "Bass")
    assert numbers["sampling"] == {"temperature": 0.9, "top_k": 100}
    assert {"bandmate", "torch"} <= set(numbers["versions"])
    assert numbers["real_time_factor"] > 0
    said = capsys.readouterr()
    assert "real-time factor" in said.out
    assert str(out) in said.out
    assert not said.err
    assert left_behind(tmp_path, song, out, mix, plot, report) == []


def test_seed_gives_the_same_bytes(song: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"{i}.wav" for i in range(3)]
    for out, seed in zip(outs, (1, 1, 2)):
        assert run(song, "-o", out, "--seed", seed) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes() != outs[2].read_bytes()


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("channels", [1, 6])
def test_any_rate_and_channels(
    rate: int, channels: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = np.repeat(music(0.71, rate=rate)[:, None], channels, axis=1)
    source, out = write(tmp_path / "in.wav", samples, rate), tmp_path / "out.wav"
    assert run(source, "-o", out, "--t-f", 0.2) == 0
    played, out_rate = soundfile.read(out)
    assert (out_rate, played.shape) == (rate, samples[:, 0].shape)
    assert np.abs(played).max() > 0.01
    assert ("6 channels were averaged" in capsys.readouterr().out) == (channels == 6)


def test_output_is_aligned_at_any_rate(tmp_path: Path) -> None:
    """Listening first makes a silence that ends at a known instant: the same at 32 and at 48 kHz."""
    for rate in (32_000, 48_000):
        source, out = write(tmp_path / f"{rate}.wav", music(2, rate=rate), rate), tmp_path / "out.wav"
        assert run(source, "-o", out, "--listen", 1.0) == 0
        played, _ = soundfile.read(out)
        assert np.abs(played[: rate - rate // 500]).max() < 1e-3
        assert np.abs(played[rate : rate + rate // 50]).max() > 0.02


def test_how_to_draw_follows_t_f_unless_it_is_given(song: Path, tmp_path: Path) -> None:
    told = []
    for more in ((), ("--top-k", 7)):
        report = tmp_path / "run.json"
        arguments = ("-o", tmp_path / "out.wav", "--t-f", -0.9, "--json", report, *more)
        assert run(song, *arguments) == 0
        told.append(json.loads(report.read_text())["sampling"])
    assert told == [{"temperature": 0.9, "top_k": 40}, {"temperature": 0.9, "top_k": 7}]


@pytest.mark.parametrize("samples", [1, 10, 320])
@pytest.mark.parametrize("t_f", [-4, 4])
def test_very_short_input(samples: int, t_f: int, tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.wav", music(1)[:samples]), tmp_path / "out.wav"
    plot = ["--plot", tmp_path / "p.png"] if samples == 1 else []
    assert run(source, "-o", out, "--t-f", t_f, *plot) == 0
    assert soundfile.info(out).frames == samples


@pytest.mark.parametrize(("t_f", "k"), [(-4, 0.02), (4, 2), (0, 1), (-4, 2)])
def test_the_corners_of_the_plane(song: Path, tmp_path: Path, t_f: float, k: float) -> None:
    assert run(song, "-o", tmp_path / "out.wav", "--t-f", t_f, "--k", k) == 0
    assert soundfile.info(tmp_path / "out.wav").frames == 64_000


def test_odd_input_is_played_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = music(1.0)
    broken[[10, 20, 30]] = [np.nan, np.inf, -np.inf]
    assert (
        run(write(tmp_path / "nan.wav", broken), "-o", tmp_path / "o.wav", "--json", tmp_path / "r.json") == 0
    )
    assert "3 samples of the input were no numbers" in capsys.readouterr().out
    assert json.loads((tmp_path / "r.json").read_text())["bad_samples"] == 3
    assert np.isfinite(soundfile.read(tmp_path / "o.wav")[0]).all()
    assert run(write(tmp_path / "silent.wav", np.zeros(32_000)), "-o", tmp_path / "o.wav") == 0
    assert "the input is silent" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.wav", "-o", "out.wav"], "there is no file missing.wav"),
        (["empty.wav", "-o", "out.wav"], "is empty (0 bytes)"),
        (["no_samples.wav", "-o", "out.wav"], "0 samples long"),
        (["text.wav", "-o", "out.wav"], "cannot read text.wav as audio"),
        ([".", "-o", "out.wav"], "is a folder"),
        (["song.wav", "-o", "out.wav", "--instrument", "Pinao"], "did you mean 'Piano'?"),
        (["song.wav", "-o", "out.wav", "--model", "duet-smal"], "did you mean 'duet-small'?"),
        (["song.wav", "-o", "out.wav", "--t-f", "4.5"], "--t-f 4.5 is out of range: give -4 to 4 seconds"),
        (["song.wav", "-o", "out.wav", "--t-f", "nan"], "--t-f nan is out of range"),
        (["song.wav", "-o", "out.wav", "--k", "0.01"], "--k 0.01 is out of range: give 0.02 to 2 seconds"),
        (["song.wav", "-o", "out.wav", "--k", "3"], "--k 3 is out of range"),
        (["song.wav", "-o", "out.wav", "--k", "fast"], "could not convert string to float: 'fast'"),
        (["song.wav", "-o", "out.wav", "--temperature", "-1"], "--temperature -1 is out of range"),
        (["song.wav", "-o", "out.wav", "--top-k", "0"], "--top-k 0 is out of range"),
        (["song.wav", "-o", "out.wav", "--listen", "-1"], "--listen -1 is out of range"),
        (["song.wav", "-o", "out.wav", "--gain", "inf"], "--gain inf is out of range"),
        (["song.wav", "-o", "out.wav", "--latency", "quick"], "--latency takes MEAN or MEAN:SD"),
        (["song.wav", "-o", "out.wav", "--latency", "0.1", "--realtime"], "choose one of them"),
        (["song.wav", "-o", "out.wav", "--tf", "0"], "did you mean --t-f?"),
        (["song.wav"], "Missing from bandmate stream: -o FILE"),
        (["song.wav", "-o", "no/such/out.wav"], "there is no folder no/such, create it first"),
        (["song.wav", "-o", "out.xyz"], "use one of .wav, .flac"),
        (["song.wav", "-o", "."], "is a folder"),
        (["song.wav", "-o", "song.wav"], "is the input itself"),
        (["song.wav", "-o", "out.wav", "--mix", "out.wav"], "are the same file"),
        (["song.wav", "-o", "out.wav", "--json", "no/r.json"], "there is no folder no"),
        (["song.wav", "-o", "out.wav", "--plot", "run.pdf"], "--plot writes PNG only: name the file run.png"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str],
    says: str,
    song: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is not sound")
    write(tmp_path / "no_samples.wav", np.zeros(0))
    before = left_behind(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert says in complaint(capsys)
    assert left_behind(tmp_path) == before


def test_a_folder_that_may_not_be_written(
    song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert run(song, "-o", tmp_path / "out.wav") == 2
    assert "is not writable" in complaint(capsys)


@pytest.mark.parametrize("extra", [[], ["--mix", "mix.wav", "--json", "r.json", "--plot", "p.png"]])
def test_full_disk(
    extra: list[str],
    song: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The disk fills up while the output is written: exit 1, what stood there before stays, nothing partial
    is left.
    """
    from bandmate.audio import io

    monkeypatch.chdir(tmp_path)
    Path("out.wav").write_text("what was here before")
    written = [0]

    def write_until_full(self: io._Sink, data: bytes) -> int:
        written[0] += len(data)
        if written[0] > 50_000 and self.error is None:
            self.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(data) if self.error else self.file.write(data)

    monkeypatch.setattr(io._Sink, "write", write_until_full)
    assert run(song, "-o", "out.wav", *extra) == 1
    assert "No space left on device" in complaint(capsys)
    assert left_behind(tmp_path) == ["out.wav", "song.wav"]
    assert Path("out.wav").read_text() == "what was here before"


def test_interrupt(
    song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bandmate.stream.file.FileOutput.finish", interrupted)
    assert run(song, "-o", tmp_path / "out.wav", "--mix", tmp_path / "mix.wav") == 130
    assert "interrupted" in complaint(capsys)
    assert left_behind(tmp_path, song) == []


def test_simulated_latency_is_deterministic_and_trims_what_is_late(song: Path, tmp_path: Path) -> None:
    reports, sounds = [], []
    for latency in (None, "0.01", "0.3:0.1", "0.3:0.1"):
        options = ["--latency", latency] if latency else []
        assert run(song, "-o", tmp_path / "o.wav", "--json", tmp_path / "r.json", *options) == 0
        reports.append(json.loads((tmp_path / "r.json").read_text()))
        sounds.append(soundfile.read(tmp_path / "o.wav")[0])
    assert np.array_equal(sounds[0], sounds[1])
    assert np.array_equal(sounds[2], sounds[3])
    assert not np.array_equal(sounds[0], sounds[2])
    assert len({len(s) for s in sounds}) == 1
    assert reports[1]["misses"] == 0 < reports[2]["misses"] == reports[3]["misses"]
    assert reports[2]["clock"] == "virtual"


def test_shift_under_simulated_latency(
    song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """t_f = 0 cannot be in time; shifted by pattern, overlap and latency it is, and nothing else changes."""
    free, late, shifted, report = (tmp_path / n for n in ("free.wav", "late.wav", "shifted.wav", "r.json"))
    assert run(song, "-o", free, "--t-f", 0) == 0
    assert "no machine plays t_f = 0 s in time" in capsys.readouterr().out
    assert run(song, "-o", late, "--t-f", 0, "--latency", 0.05, "--json", report) == 0
    assert json.loads(report.read_text())["misses"] > 10
    assert run(song, "-o", shifted, "--t-f", 0, "--latency", 0.05, "--shift", "--json", report) == 0
    numbers = json.loads(report.read_text())
    assert numbers["misses"] == 0
    assert numbers["shift_seconds"] == pytest.approx(0.06 + 0.015 + 0.05)
    assert "played 0.125 s later" in capsys.readouterr().out
    one, two = soundfile.read(free)[0], soundfile.read(shifted)[0]
    np.testing.assert_array_equal(two[4000:], one[:-4000])
    assert not two[:4000].any()


def test_shift_alone_says_that_it_does_nothing(
    song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(song, "-o", tmp_path / "out.wav", "--shift") == 0
    assert "--shift has no effect without" in complaint(capsys)


@pytest.fixture
def real_model(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a real model of toy size; the real loader reads it."""
    torch.manual_seed(0)
    codec, duet = SpectralCodec(configs.spectral_tiny()), Duet(configs.duet_tiny())
    torch.nn.init.normal_(codec.quantizer.codebook)
    folder = tmp_path_factory.mktemp("models") / "toy"
    checkpoint.save_bundle(folder, codec, duet, {"temperature": 0.9, "top_k": 20, "guidance": 1.5}, {})
    monkeypatch.setattr("bandmate.checkpoint.load_bundle", LOAD_BUNDLE)
    return folder


@pytest.mark.parametrize("options", [[], ["--t-f", "0.3", "--listen", "0.7"], ["--latency", "0.2:0.2"]])
def test_a_real_model_of_toy_size(options: list[str], real_model: Path, song: Path, tmp_path: Path) -> None:
    outs, report = [tmp_path / "one.wav", tmp_path / "two.wav"], tmp_path / "r.json"
    for out in outs:
        assert run(song, "-o", out, "--model", real_model, "--json", report, *options) == 0
    numbers = json.loads(report.read_text())
    assert numbers["model"] == "toy"
    assert numbers["sampling"] == {"temperature": 0.9, "top_k": 20, "guidance": 1.5}
    assert outs[0].read_bytes() == outs[1].read_bytes()
    played, _ = soundfile.read(outs[0])
    assert played.shape == (64_000,)
    assert played.any()
    if "--listen" in options:
        assert not played[: round(0.7 * 32_000)].any()
        assert played[round(0.7 * 32_000) :][:2000].any()


def cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def with_unknown_key(folder: Path) -> None:
    card = folder / "config.yaml"
    card.write_text(card.read_text().replace("model:\n", "model:\n  wdth: 4\n"))


def without_codec(folder: Path) -> None:
    (folder / "codec.safetensors").unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (cut_short, "model.safetensors is damaged or cut short"),
        (with_unknown_key, "unknown key 'wdth'"),
        (without_codec, "codec.safetensors is missing"),
    ],
)
def test_spoilt_models(
    spoil: Callable[[Path], None],
    says: str,
    real_model: Path,
    song: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(real_model)
    assert run(song, "-o", tmp_path / "out.wav", "--model", real_model) == 2
    assert says in complaint(capsys)
    assert left_behind(tmp_path, song) == []


@pytest.mark.parametrize(
    ("kind", "preset", "says"),
    [
        (
            OfflinePrefix,
            configs.offline_prefix_tiny,
            "toy is an offline model: it cannot play for as long as",
        ),
        (StemGen, configs.stemgen_tiny, "toy is an offline model: it cannot play for as long as one likes"),
        (EncoderDecoder, configs.encoder_decoder_tiny, "this model hears the whole input before it plays"),
    ],
)
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_offline_models_are_refused(
    kind: Any,
    preset: Any,
    says: str,
    precision: str,
    real_model: Path,
    song: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = LOAD_BUNDLE(str(real_model))
    checkpoint.save_bundle(real_model, bundle.codec, kind(preset()), {}, {})
    assert run(song, "-o", tmp_path / "out.wav", "--model", real_model, "--precision", precision) == 2
    assert says in complaint(capsys)
    assert left_behind(tmp_path, song) == []


def test_a_latency_that_is_none_is_refused_before_anything_is_loaded(
    song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bandmate.checkpoint.load_bundle", None)
    assert run(song, "-o", tmp_path / "out.wav", "--latency", "abc") == 2
    assert "--latency takes MEAN or MEAN:SD in seconds" in complaint(capsys)


@pytest.fixture
def fast_wall(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A wall clock that only moves when somebody sleeps."""
    now = [50.0]
    monkeypatch.setattr(stream_command.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(stream_command.time, "perf_counter", lambda: now[0])
    return now


def test_realtime(song: Path, tmp_path: Path, fast_wall: list[float]) -> None:
    free, real, report = tmp_path / "free.wav", tmp_path / "real.wav", tmp_path / "r.json"
    assert run(song, "-o", free) == 0
    began = fast_wall[0]
    assert run(song, "-o", real, "--realtime", "--json", report) == 0
    # 2 s of music; the calls that need no input begin 0.4 s before.
    assert fast_wall[0] - began == pytest.approx(2.4)
    np.testing.assert_array_equal(soundfile.read(free)[0], soundfile.read(real)[0])
    numbers = json.loads(report.read_text())
    assert (numbers["misses"], numbers["clock"]) == (0, "wall")


def test_realtime_refuses_what_cannot_be_played(
    song: Path,
    tmp_path: Path,
    fast_wall: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.wav"
    monkeypatch.setattr("bandmate.stream.warmup.warm_up", lambda make, k: 0.04)
    assert run(song, "-o", out, "--realtime", "--t-f", 0) == 2
    assert "would come 0.135 s late; give --t-f -0.14 or less, or --shift" in complaint(capsys)
    assert run(song, "-o", out, "--realtime", "--t-f", -0.12) == 2
    assert run(song, "-o", out, "--realtime", "--t-f", -1, "--k", 0.02, "--shift") == 2
    assert "give a longer --k" in capsys.readouterr().err
    assert left_behind(tmp_path, song) == []
    assert run(song, "-o", out, "--realtime", "--t-f", -0.14) == 0
    assert run(song, "-o", out, "--realtime", "--t-f", 0, "--shift") == 0
    assert "played 0.135 s later" in capsys.readouterr().out


def test_the_help_lists_the_instruments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--help")
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name in INSTRUMENTS:
        assert name in said


def test_defaults() -> None:
    args = parse(stream_command.Arguments, ["a.wav", "-o", "b.wav"], "bandmate stream")
    assert (args.t_f, args.k, args.realtime, args.threads) == (-0.4, 0.1, False, 1)
