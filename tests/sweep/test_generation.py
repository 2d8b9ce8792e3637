"""What a folder of clips is made of, and what counts as one song."""

import json
from pathlib import Path

import pytest

from bandmate.checkpoint import load_bundle
from bandmate.data.render import load_track, save_track
from bandmate.evaluate.folders import from_generate
from bandmate.spec import StreamSpec
from bandmate.sweep import endless
from bandmate.sweep.generation import GenerationConfig, generate_folder
from bandmate.sweep.material import PlacesConfig
from tests.sweep import small


@pytest.fixture(scope="module")
def cousins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four songs of which two are near duplicates."""
    folder = tmp_path_factory.mktemp("cousins")
    small.rendered(folder)
    for path in (folder / "test").glob("song[01]__*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"cluster": "both"}))
    return folder


def config(clips: int) -> GenerationConfig:
    return GenerationConfig(PlacesConfig(frames=100, post=50), clips, StreamSpec(0, 5))


def test_near_duplicates_count_as_one_song(cousins: Path, bundle_path: Path, tmp_path: Path) -> None:
    generate_folder(load_bundle(str(bundle_path)), cousins, tmp_path / "clips", config(8))
    clips = from_generate({"played": (tmp_path / "clips",)}).clips
    assert {clip.song for clip in clips} == {"both", "song2", "song3"}
    rows = [json.loads(line) for line in (tmp_path / "clips" / "clips.jsonl").read_text().splitlines()]
    assert {row["song"] for row in rows} == {f"song{index}" for index in range(4)}
    early = [json.dumps({name: value for name, value in row.items() if name != "cluster"}) for row in rows]
    (tmp_path / "clips" / "clips.jsonl").write_text("\n".join(early) + "\n")
    assert len({clip.song for clip in from_generate({"played": (tmp_path / "clips",)}).clips}) == 4


def test_sessions_are_of_songs_that_are_no_near_duplicates(cousins: Path) -> None:
    songs = {source.song for source in endless.draw_sources(cousins, "test", 3)}
    assert len(songs & {"song0", "song1"}) == 1
    with pytest.raises(ValueError, match="has 3 songs with a stem to play, not 4"):
        endless.draw_sources(cousins, "test", 4)


def test_a_folder_is_not_completed_from_other_audio(cousins: Path, bundle_path: Path, tmp_path: Path) -> None:
    bundle = load_bundle(str(bundle_path))
    generate_folder(bundle, cousins, tmp_path / "clips", config(2))
    for path in sorted((cousins / "test").glob("*.json")):  # the same songs through other sounds
        track = load_track(path)
        for stem in track.stems:
            stem.audio[:] = -stem.audio
        save_track(track, tmp_path / "other" / "test" / track.id)
    with pytest.raises(ValueError, match=r"clip 00000 of .* is not what the rendered tracks hold there"):
        generate_folder(bundle, tmp_path / "other", tmp_path / "clips", config(4))
    assert len((tmp_path / "clips" / "clips.jsonl").read_text().splitlines()) == 2
    generate_folder(bundle, cousins, tmp_path / "clips", config(4))
