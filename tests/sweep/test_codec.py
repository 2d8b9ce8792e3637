from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bandmate.checkpoint import Bundle
from bandmate.sweep import codec
from bandmate.sweep.clips import HOP, Excerpt, solo_excerpts, split_paths
from bandmate.sweep.codec import CodecConfig, markdown, measure, run_codec
from bandmate.sweep.tables import finite, plain, signed, table, to_json

CONFIG = CodecConfig(songs=3, stems=2, frames=150)


@pytest.fixture
def crude_opus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for the external programs, which need not be there: half the kb/s, half the level."""
    monkeypatch.setattr(codec, "has_opus", lambda: True)
    monkeypatch.setattr(codec, "opus", lambda kbps: lambda audio: np.float32(kbps / 16) * audio)


def test_rows_for_each_kind_of_sound_and_system(bundle: Bundle, rendered: Path, crude_opus: None) -> None:
    result = measure(bundle.codec, rendered, "test", CONFIG)
    rows = {(row["sound"], row["system"]): row for row in result["rows"]}
    assert {sound for sound, _ in rows} == {"mix", "stems", "Percussive", "Bass", "Piano"}
    half = rows["mix", "Opus 8 kb/s"]
    assert half["clips"] == 3
    assert half["level"]["mean"] == pytest.approx(-6.02, abs=0.01)
    assert half["chroma"]["mean"] == pytest.approx(1)
    assert half["onset_f1"]["mean"] == pytest.approx(1)
    assert half["si_sdr"]["mean"] == 100
    assert rows["mix", "codec"]["mel_l1"]["mean"] > rows["mix", "Opus 12 kb/s"]["mel_l1"]["mean"] > 0
    assert rows["stems", "codec"]["clips"] == 6
    assert result["code_frames"] == 9 * 150
    assert len(result["codebooks"]) == len(result["codebooks_mixes_only"]) == 4
    assert all(0 < book["usage"] <= 1 <= book["perplexity"] <= 32 for book in result["codebooks"])
    assert "| mix | Opus 8 kb/s | 3 | 1.000" in markdown(result)


def test_without_opus_it_is_said(bundle: Bundle, rendered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "has_opus", lambda: False)
    result = measure(bundle.codec, rendered, "test", CodecConfig(songs=1, stems=0, frames=100))
    assert {row["system"] for row in result["rows"]} == {"codec"}
    assert "Opus was left out" in markdown(result)
    assert "Opus" not in markdown(result | {"opus": True})


def test_tracks_that_are_left_out_are_told(
    bundle: Bundle, rendered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "has_opus", lambda: False)
    assert measure(bundle.codec, rendered, "test", CodecConfig(1, 0, 100))["skipped_tracks"] == []
    silent, short, *_ = names = [path.stem for path in split_paths(rendered, "test")]
    found = codec.solo_excerpts

    def some(*given: Any) -> Iterator[tuple[str, list[Excerpt]]]:
        for track, each in found(*given):
            cut = [replace(one, audio=one.audio[: 49 * HOP if track == short else None]) for one in each]
            yield track, [] if track == silent else cut

    monkeypatch.setattr(codec, "solo_excerpts", some)
    result = measure(bundle.codec, rendered, "test", CodecConfig(songs=3, stems=1, frames=100))
    assert result["skipped_tracks"] == names[:2]
    assert f"Left out, as silent or shorter than 1 s: 2 tracks: {silent}, {short}.\n" in markdown(result)
    with pytest.raises(ValueError, match="is silent or shorter than 1 s"):
        measure(bundle.codec, rendered, "test", CodecConfig(songs=2, stems=1, frames=100))


def test_reconstructions_are_those_of_each_excerpt_alone(bundle: Bundle, rendered: Path) -> None:
    found = solo_excerpts(rendered, "test", 2, CONFIG.lead + CONFIG.frames, 2)
    excerpts = [excerpt for _, each in found for excerpt in each]
    for excerpt, codes, sound in run_codec(bundle.codec, excerpts, CONFIG):
        with torch.inference_mode():
            alone = bundle.codec.encode(torch.from_numpy(excerpt.audio)[None])
            again = bundle.codec.decode(alone)[0].numpy()
        np.testing.assert_array_equal(codes, alone[0, :, CONFIG.lead :])
        np.testing.assert_allclose(sound, again, atol=1e-5)


def test_tables() -> None:
    interval = {"mean": -0.5, "low": -1.0, "high": 0.25, "songs": 3, "values": 3}
    assert plain(interval, 2) == "−0.50 [−1.00, 0.25]"
    assert signed(interval, 1) == "−0.5 [−1.0, +0.2]"
    assert plain(interval | {"low": float("nan")}) == "−0.500"
    assert plain(dict.fromkeys(interval, float("nan"))) == "–"
    assert table([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |"
    assert finite({"a": (float("nan"), 1.0)}) == {"a": [None, 1.0]}
    assert to_json({"a": float("inf")}) == '{\n "a": null\n}\n'
