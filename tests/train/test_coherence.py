import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soxr
import torch
from safetensors import safe_open

from bandmate.configs import preset
from bandmate.data.render import load_track, save_track
from bandmate.data.stems import Stem
from bandmate.instruments import PERCUSSIVE, VOCAL
from bandmate.perceive.coherence import load_encoder
from bandmate.perceive.hpss import MODES
from bandmate.perceive.two_windows import powers
from bandmate.train import presets, runs
from bandmate.train.coherence import JUDGED, CoherenceTrainConfig, contrastive_loss, ranks, scores, tells
from bandmate.train.pairs import WRONG, Pairs, PairStore, draw_elsewhere, reflect, window
from bandmate.train.spectra import SpectraConfig, choose, vorbis, write_spectra
from tests.sweep.small import song

CONFIG = SpectraConfig(mixtures=2, coded=0.5)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    for index in range(5):
        track = dataclasses.replace(song(index), split="train" if index < 3 else "valid")
        save_track(track, folder / track.split / track.id)
    return folder


@pytest.fixture(scope="module")
def spectra(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spectra")
    for split in ("train", "valid"):
        assert list(write_spectra(rendered, folder / split, split, CONFIG))[-1] == 1.0
    return folder


@pytest.fixture(scope="module")
def store(spectra: Path) -> PairStore:
    return PairStore(spectra / "train")


def test_targets_are_left_out_of_their_mixture_and_no_vocals() -> None:
    track = song(0)
    stems = (*track.stems, Stem(track.stems[0].audio, VOCAL, "voice"), *track.stems)
    track = dataclasses.replace(track, stems=stems)
    for seed in range(30):
        choice = choose(track, CONFIG, np.random.default_rng(seed))
        for members, targets in zip(choice.mixtures, choice.targets, strict=True):
            assert targets
            assert not set(members) & set(targets)
            assert 3 not in targets
        assert set(choice.stems) == {stem for targets in choice.targets for stem in targets}


def test_spectra_are_made_once_and_alike(rendered: Path, spectra: Path, tmp_path: Path) -> None:
    first, *others = sorted((spectra / "train").glob("*.safetensors"))
    for path in others:
        (tmp_path / path.name).write_bytes(b"kept")
    list(write_spectra(rendered, tmp_path, "train", CONFIG))
    assert (tmp_path / first.name).read_bytes() == first.read_bytes()
    assert all((tmp_path / path.name).read_bytes() == b"kept" for path in others)


def test_what_is_stored_is_what_is_heard(rendered: Path, tmp_path: Path) -> None:
    list(write_spectra(rendered, tmp_path, "train", dataclasses.replace(CONFIG, coded=0.0)))
    store = PairStore(tmp_path)
    (mixture, row), *_ = store.entries[0].pairs[PERCUSSIVE]
    track = load_track(rendered / "train" / f"{store.entries[0].path.stem}.json")
    stem = torch.from_numpy(soxr.resample(track.stems[0].audio, 32_000, 16_000, quality="MQ"))
    with safe_open(store.entries[0].path, "numpy") as file:
        stored = window(file, row, 100)
    for ours, theirs, start, length in zip(stored, powers(stem), (50, 100), (125, 250), strict=True):
        expected = theirs[:, start : start + length]
        torch.testing.assert_close(ours, expected.clamp(-110, 17.5), atol=0.26, rtol=0)
    assert mixture != row


def test_vorbis_keeps_the_clock(rendered: Path) -> None:
    audio = load_track(next((rendered / "train").glob("*.json"))).mix[::2][:80_000]
    coded = vorbis(audio, 1.0)
    assert len(coded) == len(audio)
    assert not np.allclose(coded, audio, atol=1e-4)
    shifts = [float(np.dot(coded[500:70_000], audio[500 + lag : 70_000 + lag])) for lag in range(-200, 201)]
    assert int(np.argmax(shifts)) == 200


def test_batches_are_a_pure_function_of_their_key(store: PairStore) -> None:
    first, again, other = (store.draw(4, 2, key) for key in ((0, 1), (0, 1), (0, 2)))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.mix, other.mix)


def test_a_set_is_of_one_class_and_of_different_songs(store: PairStore) -> None:
    for instrument, songs in store.classes.items():
        places = store.places(instrument, 8, np.random.default_rng(0))
        clusters = [store.entries[place.track].song for place in places]
        assert len(set(clusters)) == len(clusters) <= len(songs)
        for place in places:
            assert (place.mixture, place.stem) in store.entries[place.track].pairs[instrument]
    pairs = store.draw(6, 2, (3,))
    assert len(pairs.group.unique()) == 2
    assert pairs.mix.shape == pairs.stem.shape == (len(pairs.group), 2, 64, 250)
    assert pairs.wrong.shape == (3, len(pairs.group), 2, 64, 250)


def test_a_shifted_stem_is_the_stem_at_another_time(store: PairStore) -> None:
    place = store.places(PERCUSSIVE, 1, np.random.default_rng(0))[0]
    rows = store.cut(place, PERCUSSIVE, np.random.default_rng(0), False)
    stem, shifted = rows[1], rows[2][WRONG.index("shifted")]
    lag = place.shifted - place.start
    assert lag != 0
    ours, theirs = (
        (stem[1, :, lag:], shifted[1, :, :-lag]) if lag > 0 else (shifted[1, :, -lag:], stem[1, :, :lag])
    )
    difference = (ours[:, 20:-20] - theirs[:, 20:-20]).abs().median()
    assert difference < 1.0 < (stem[1] - shifted[1]).abs().mean()


def test_transposition_is_no_fault_of_drums(store: PairStore) -> None:
    kind = WRONG.index("transposed")
    drums = store.cut(
        store.places(PERCUSSIVE, 1, np.random.default_rng(1))[0], PERCUSSIVE, np.random.default_rng(1), True
    )
    piano = store.cut(store.places(0, 1, np.random.default_rng(1))[0], 0, np.random.default_rng(1), True)
    assert not drums[3][kind]
    assert not drums[4][kind]
    assert piano[3][kind]
    assert not piano[4][kind]


def test_places_at_the_ends() -> None:
    assert [reflect(at, 40, 60) for at in (50, 70, -10, 0)] == [50, 10, 40, 0]
    rng = np.random.default_rng(0)
    starts = np.arange(0, 400)
    found = {draw_elsewhere(100, 96.0, starts, rng) for _ in range(50)}
    assert found <= {4, 196, 292, 388}
    assert len(found) > 2
    assert draw_elsewhere(100, 1000.0, starts, rng) == 100


def test_what_counts_as_wrong_in_a_mode() -> None:
    flag = torch.ones(3, 2, dtype=torch.bool)
    nothing = torch.zeros(2)
    pairs = Pairs(nothing, nothing, nothing, flag, flag, nothing)
    assert all(tells(pairs, mode).all() and len(tells(pairs, mode)) == len(JUDGED[mode]) for mode in MODES)
    still = Pairs(nothing, nothing, nothing, flag, ~flag, nothing)  # a stem that hardly moves
    assert tells(still, "both")[:, 0].tolist() == [False, True, True]
    assert tells(still, "harmonic").all()
    assert not tells(still, "percussive").any()
    assert "transposed" not in JUDGED["percussive"]
    assert "shifted" not in JUDGED["harmonic"]


def test_the_loss_asks_for_the_true_stem() -> None:
    right = 20 * torch.eye(4)
    wrong = torch.zeros(3, 4, 4)
    usable = torch.ones(3, 4, dtype=torch.bool)
    assert contrastive_loss(right, wrong, usable, 0.5) < 1e-4
    chance = contrastive_loss(torch.zeros(4, 4), wrong, usable, 0.5)
    assert chance.item() == pytest.approx(np.log(16) + 0.5 * np.log(4))
    wrong[0] = 20 * torch.eye(4)  # the shifted stem of each song scores as high as the true one
    assert contrastive_loss(right, wrong, usable, 0.0).item() == pytest.approx(np.log(2), abs=1e-4)
    usable[0] = False  # unless it is as good
    assert contrastive_loss(right, wrong, usable, 0.0) < 1e-4


def test_ranks() -> None:
    right = torch.tensor([[2.0, 1.0], [3.0, 1.0]])
    wrong = torch.zeros(3, 2, 2)
    wrong[1] = 5.0
    usable = torch.tensor([[True, True], [True, False], [False, False]])
    found = ranks(right, wrong, usable, WRONG)
    assert (found["other"], found["shifted"], found["elsewhere"]) == (0.5, 1.0, 0.0)
    assert np.isnan(found["transposed"])


@pytest.fixture(scope="module")
def tiny(spectra: Path) -> CoherenceTrainConfig:
    config = preset(presets.COHERENCE, "tiny")
    return dataclasses.replace(config, spectra=str(spectra))


def test_a_run_resumes_to_the_same_weights(
    tiny: CoherenceTrainConfig, rendered: Path, tmp_path: Path
) -> None:
    runs.train(tiny, rendered, tmp_path / "whole", False, False)
    half = dataclasses.replace(tiny, steps=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "bandmate.train.coherence.CoherenceTraining.on_train_epoch_end", stop_after_first, raising=False
        )
        runs.train(half, rendered, tmp_path / "cut", False, False)
    assert torch.load(tmp_path / "cut" / "last.ckpt", weights_only=False)["epoch"] == 0
    runs.train(half, rendered, tmp_path / "cut", True, False)
    whole, cut = (load_encoder(tmp_path / name).state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def stop_after_first(module: torch.nn.Module) -> None:
    module.trainer.should_stop = True


def test_it_learns_to_find_the_true_stem(tiny: CoherenceTrainConfig) -> None:
    torch.manual_seed(0)
    training = tiny.build(Path("unused"))
    optimizer = torch.optim.AdamW(training.encoder.parameters(), 3e-3)
    losses = []
    for step in range(60):
        batch = training.draw_part(step % 6, 0)
        loss = contrastive_loss(*scores(training.encoder, batch, "both"), 0.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-6:]) < 0.3 * np.mean(losses[:6])


def test_spectra_that_are_not_there(tiny: CoherenceTrainConfig, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no spectra of tracks"):
        dataclasses.replace(tiny, spectra=str(tmp_path)).build(Path("unused"))


def test_parts_of_a_batch_differ_and_must_fit(tiny: CoherenceTrainConfig) -> None:
    whole, halves = (dataclasses.replace(tiny, parts=parts).build(Path("unused")) for parts in (1, 2))
    step = next(step for step in range(20) if whole.mode(step) == "both")
    before = whole.store.draw(4, 1, (0, step))
    assert torch.equal(whole.draw_part(step, 0).mix, before.mix)
    one, two = (halves.draw_part(step, part) for part in (0, 1))
    assert len(one.group) <= 2 >= len(two.group)
    assert one.mix.shape != two.mix.shape or not torch.equal(one.mix, two.mix)
    with pytest.raises(ValueError, match="batch of 4 pairs cannot be cut into 3 parts"):
        dataclasses.replace(tiny, parts=3).build(Path("unused"))
    with pytest.raises(ValueError, match="1 pairs, a part of the batch, make no 2 groups"):
        dataclasses.replace(tiny, parts=4, groups=2).build(Path("unused"))


@pytest.fixture
def no_tracks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bandmate.train.spectra.rendered_tracks", lambda _: [])


@pytest.mark.usefixtures("no_tracks")
def test_spectra_that_were_made_in_another_way_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    list(write_spectra(tmp_path / "rendered", out, "train", CONFIG))
    list(write_spectra(tmp_path / "rendered", out, "train", CONFIG))
    with pytest.raises(ValueError, match=r"made with making\.coded = 0\.5, not 0\.1") as told:
        list(write_spectra(tmp_path / "rendered", out, "train", dataclasses.replace(CONFIG, coded=0.1)))
    assert "\n" not in str(told.value)
    (out / "making.json").write_text("[")
    with pytest.raises(ValueError, match=r"making\.json is damaged"):
        list(write_spectra(tmp_path / "rendered", out, "train", CONFIG))


@pytest.mark.usefixtures("no_tracks")
def test_spectra_that_do_not_tell_how_they_were_made_stay_usable(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "song.safetensors").touch()
    for config in (CONFIG, SpectraConfig(mixtures=9)):
        list(write_spectra(tmp_path / "rendered", tmp_path / "out", "train", config))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["song.safetensors"]
