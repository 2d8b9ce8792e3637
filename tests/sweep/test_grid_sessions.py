"""The search for a way to draw codes, and sessions without end, at toy size."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bandmate.checkpoint import Bundle, sampling_for
from bandmate.cli import main
from bandmate.evaluate import networks
from bandmate.spec import StreamSpec
from bandmate.sweep import decoding, endless, longplay
from bandmate.sweep.clips import HOP
from bandmate.sweep.decoding import DecodingConfig, Search, Setting
from bandmate.sweep.longplay import LongplayConfig, repetition
from bandmate.sweep.material import PlacesConfig
from bandmate.sweep.scoring import ScoreConfig
from tests.evaluate.fakes import listener


def search(bundle: Bundle, rendered: Path, out: Path, **more: Any) -> Search:
    config = DecodingConfig(
        ScoreConfig(listener, out / "heard", groups=False), t_f=(0.2,), guidance=(1.0, 2.0), plausible=(3, 0), share=(1.0,),
        first=(0.5, 1.0), finer=(1.0,), top_k=(8, 200), places=PlacesConfig(frames=75, post=25, most=None), clips=4, batch=4,
    )  # fmt: skip
    return Search(bundle, rendered, out, dataclasses.replace(config, **more))


@pytest.fixture(scope="module")
def tried(
    bundle: Bundle, rendered: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Search, list[Any]]:
    one = search(bundle, rendered, tmp_path_factory.mktemp("decoding") / "out")
    return one, one.run()


def test_every_setting_is_tried_once_from_the_papers_on(tried: tuple[Search, list[Any]]) -> None:
    rows = tried[1]
    settings = [decoding.setting_of(row) for row in rows]
    assert settings[0] == decoding.REFERENCE
    assert settings[1] == Setting(
        guidance=2.0, plausible=3
    )  # guidance is tried among the first of `plausible`
    fields = [Setting(guidance=2.0), Setting(first=0.5), Setting(top_k=8)]
    varied = (
        4 if decoding.value_of(rows[1]) > decoding.value_of(rows[0]) else 3
    )  # of no guidance all is plausible
    assert len(settings) == len(set(settings)) == len(fields) + varied - 2
    assert rows[0]["may_be_taken"]
    folders = [one.name for one in (tried[0].out / "clips").iterdir()]
    assert len(folders) == len(settings)


def test_a_share_of_no_guidance_is_nothing_new() -> None:
    assert Setting().but("share", 0.5) == Setting()
    assert Setting(guidance=2.0, share=0.5).but("guidance", 1.0) == Setting()
    assert Setting(guidance=2.0).but("share", 0.5) == Setting(guidance=2.0, share=0.5)
    assert (
        Setting().but("plausible", 9) == Setting(guidance=2.0, plausible=9).but("guidance", 1.0) == Setting()
    )


def test_what_was_tried_is_not_tried_again(
    tried: tuple[Search, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Search, "generate", lambda *_: pytest.fail("generated again"))
    assert tried[0].run() == tried[1]


def row(setting: Setting, objective: float | None, taken: bool = True, t_f: float = 0.0) -> dict[str, Any]:
    about = {
        "name": f"{t_f}{setting.name}",
        "t_f": t_f,
        "objective": objective,
        "may_be_taken": taken,
        "of": ["chroma"],
    }
    return about | {"fad": 1.0, "silent_share": 0.0} | dataclasses.asdict(setting)


def test_the_best_that_may_be_taken_is_stored() -> None:
    rows = [
        row(Setting(), 0.2),
        row(Setting(guidance=3.0), 0.9, taken=False),
        row(Setting(guidance=2.0, share=0.5, first=0.7), 0.5),
        row(Setting(), None, t_f=-0.4),
    ]
    stored = decoding.to_store(rows, 4)
    best = {"temperature": [0.7, 1.0, 1.0, 1.0], "top_k": 200, "guidance": [2.0, 1.5, 1.5, 1.5]}
    by_t_f = {-0.4: Setting().sampling(4), 0.0: best}
    assert stored == {"sampling": Setting().sampling(4) | {"by_t_f": by_t_f}}  # for all, that of t_f = -0.4 s
    assert "&" not in yaml.safe_dump(stored)
    assert sampling_for(stored, 0.1)["temperature"] == (0.7, 1.0, 1.0, 1.0)
    text = decoding.markdown(rows)
    assert "not taken" in text
    assert text.count("| best |") == 2


def test_what_one_t_f_does_without_is_not_inherited_from_the_others() -> None:
    rows = [
        row(Setting(guidance=8.0, plausible=10), 0.9, t_f=-0.4),
        row(Setting(guidance=3.0), 0.9, t_f=1.0),
    ]
    stored = decoding.to_store(rows, 4)
    assert sampling_for(stored, -1.0)["plausible"] == 10
    assert "plausible" not in sampling_for(stored, 1.0)
    assert sampling_for(decoding.to_store(rows[:1], 4), None)["plausible"] == 10


def test_pieces_are_joined_without_a_seam() -> None:
    time = np.arange(400 * HOP, dtype=np.float32)
    tone = np.stack([np.sin(0.01 * time), np.cos(0.01 * time)]).astype(np.float32)
    source = endless.Source("song", 0, ())

    def given(_: endless.Source) -> Iterator[Any]:
        while True:
            yield tone

    stream = endless.Endless.__new__(endless.Endless)
    stream._pieces = given(source)
    stream._ready = tone
    heard = np.concatenate([stream.read(frames) for frames in (1, 399, 350)], axis=1)
    assert heard.shape == (2, 750 * HOP)
    assert np.array_equal(heard[:, : 375 * HOP], tone[:, : 375 * HOP])
    assert np.array_equal(heard[:, 400 * HOP : 700 * HOP], tone[:, 25 * HOP : 325 * HOP])
    assert np.abs(np.diff(heard)).max() < 0.03  # no click: a step of the tone is 0.01


def test_sources_are_songs_with_a_part_to_play(rendered: Path) -> None:
    sources = endless.draw_sources(rendered, "test", 3, seed=1)
    assert len({source.song for source in sources}) == 3
    assert sources == endless.draw_sources(rendered, "test", 3, seed=1)
    with pytest.raises(ValueError, match="has 4 songs with a stem to play, not 5"):
        endless.draw_sources(rendered, "test", 5)


def test_repetition_is_found_and_silence_is_none() -> None:
    rng = np.random.default_rng(0)
    fresh = rng.integers(0, 1000, size=(4, 500))
    sounding = np.ones(500, dtype=bool)
    assert repetition(fresh, sounding) == {"longest_run": 0.0, "repeats": 0.0, "loop": 0.0}
    once = fresh.copy()
    once[:, 400:450] = fresh[:, 100:150]  # 300 frames before: too far for a loop, but the same run
    assert repetition(once, sounding) == {"longest_run": 1.0, "repeats": 0.0, "loop": 0.0}
    looped = np.tile(fresh[:, :25], 20)
    told = repetition(looped, sounding)
    assert told["loop"] == 1.0
    assert told["repeats"] == pytest.approx(0.95)
    assert told["longest_run"] == pytest.approx(475 / 50)
    assert repetition(looped, np.zeros(500, dtype=bool))["longest_run"] == 0
    level = fresh.copy()
    level[0] = 7  # one level alone repeats nothing
    assert repetition(level, sounding)["repeats"] == 0


def test_drift_hears_the_spectrum_not_the_level() -> None:
    noise = np.random.default_rng(0).normal(size=64_000).astype(np.float32)
    dull = np.convolve(noise, np.ones(16) / 16, "same").astype(np.float32)
    assert longplay.drift_db(0.1 * noise, noise) < 0.3
    assert longplay.drift_db(dull, noise) > 3
    assert np.isnan(longplay.drift_db(noise, 0 * noise))


@pytest.mark.parametrize("t_f", [-0.2, 0.2])
def test_a_session_is_what_generation_plays(bundle: Bundle, rendered: Path, t_f: float) -> None:
    """The windows hold what the oracle plays for the same input, at their own place on one clock."""
    import torch

    from bandmate.generate import generate
    from bandmate.model.sampling import Sampler
    from bandmate.sweep.music import hear

    spec = StreamSpec.from_seconds(t_f, 0.1)
    config = LongplayConfig(spec, minutes=4 / 60, marks=(2 / 60, 4 / 60), window=2.0, songs=2)
    sources = endless.draw_sources(rendered, "test", 2)
    band = longplay.Band(bundle, sources, config)
    shares: list[float] = []
    band.play(shares.append)
    first, second = band.minutes()
    songs = [endless.Endless(source) for source in sources]
    pairs = np.stack([song.read(250) for song in songs])
    assert np.array_equal(first.heard, pairs[:, 0, : 100 * HOP])
    assert np.array_equal(second.truth, pairs[:, 1, 100 * HOP : 200 * HOP])
    x = hear(bundle, torch.from_numpy(np.ascontiguousarray(pairs[:, 0])))
    sampler = Sampler(seed=0, players=(0, 1), **sampling_for(bundle.card, t_f))
    codes = generate(bundle.model, x, spec, sampler, [source.instrument for source in sources], 200)
    assert np.array_equal(np.concatenate([first.codes, second.codes], axis=2), codes.numpy())
    with torch.inference_mode():
        sound = bundle.codec.decode(codes).numpy()
    played = np.concatenate([first.played, second.played], axis=1)
    assert played.shape == sound.shape
    assert np.abs(played - sound).max() < 1e-4
    assert shares == sorted(shares)


def test_the_report_of_sessions(bundle: Bundle, rendered: Path) -> None:
    config = LongplayConfig(StreamSpec(0, 5), minutes=6 / 60, marks=(3 / 60, 6 / 60), window=3.0, songs=3)
    report = longplay.measure(bundle, rendered, listener().coherence, config, lambda _: None)
    assert [each["minute"] for each in report["rows"]] == [0.05, 0.1]
    assert len(report["sessions"]) == 3
    first, last = report["rows"]
    assert first["drift_db_played"]["mean"] == 0
    assert first["drift_db_truth"]["mean"] == 0
    assert last["drift_db_truth"]["mean"] > 0
    assert last["coherence_truth"]["songs"] == 3
    assert 0 <= last["silent_played"]["mean"] <= 1
    text = longplay.markdown(report)
    assert "fake coherence" in text
    assert len([line for line in text.splitlines() if line.startswith("| 0.")]) == 4


@pytest.fixture
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    for measure, network in listener()._asdict().items():
        monkeypatch.setattr(networks, measure, lambda _, network=network: network)


@pytest.mark.usefixtures("_stand_ins")
def test_as_typed(
    bundle_path: Path, rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each action once from the command line: files where they were asked for, tables on the terminal."""
    (tmp_path / "grid.yaml").write_text("points: [{t_f: 0, k: 0.2}]")
    common = ["--rendered", rendered, "--model", bundle_path]
    clips = ["--clips", 2, "--seconds", 1, "--split", "test"]
    run = ["run", *common, *clips, "--grid", tmp_path / "grid.yaml", "--out", tmp_path / "run", "--seeds", 1]
    assert main(["sweep", *map(str, run)]) == 0
    printed = capsys.readouterr()
    assert "| 0 | 0.2 |" in printed.out
    assert "Beats: fake beats" in printed.out
    assert "1 of 1 points" in printed.err
    assert (tmp_path / "run" / "rows.csv").is_file()
    single = ["--t-f", 0, "--guidance", 1, "--share", 1, "--first", 1, "--finer", 1, "--top-k", 200]
    search = ["decoding", *common, *clips, "--out", tmp_path / "search", *single]
    assert main(["sweep", *map(str, search)]) == 0
    best = yaml.safe_load((tmp_path / "search" / "best.yaml").read_text())
    drawing = {"temperature": [1.0] * 4, "top_k": 200, "guidance": 1.0}
    assert best == {"sampling": drawing | {"by_t_f": {0.0: drawing}}}
    assert "sampling:" in capsys.readouterr().out
    play = ["longplay", *common, "--minutes", 0.05, "--songs", 2, "--json", tmp_path / "play.json"]
    assert main(["sweep", *map(str, play)]) == 0
    assert json.loads((tmp_path / "play.json").read_text())["rows"][0]["minute"] == 0.05
    page = [
        "page",
        "--folders",
        f"one={tmp_path / 'run/clips/k0.2_tf+0/seed0'}",
        "--clips",
        1,
        "--out",
        tmp_path / "page",
    ]
    assert main(["sweep", *map(str, page)]) == 0
    assert "t_f = 0 s, k = 0.2 s" in (tmp_path / "page" / "index.html").read_text()
