"""Figures from made-up rows, what a machine can hold, and the page of examples."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bandmate.cli import main
from bandmate.evaluate.folders import named_folders
from bandmate.spec import Latency
from bandmate.sweep import grid, machine, paper_values, plane_figures, report
from bandmate.sweep.page import spectrogram, write_page
from bandmate.sweep.row_store import RowStore, read_rows
from tests.evaluate.fakes import generated

PNG = b"\x89PNG\r\n\x1a\n"


def interval(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}


def made_up(points: grid.Grid) -> list[dict[str, Any]]:
    networks = {key: {"name": key} for key in ("coherence", "beats", "embedding")}
    anchor = {"kind": "anchor", "networks": networks, "clips": 8, "songs": 4, "seconds_per_clip": 10.0}
    rows: list[dict[str, Any]] = [
        {"point": name, "coherence_both": interval(value), "beat_f1": interval(value), "fad": interval(1)}
        | anchor
        for name, value in (("ground truth", 1.0), ("random pairing", 0.0))
    ]
    for point in points:
        if point.spec:
            place = {
                "t_f": point.spec.t_f_seconds,
                "k": point.spec.k_seconds,
                "clips": 8,
                "songs": 4,
                "seeds": 3,
            }
            names = ("coherence_both", "nc_both", "beat_f1", "nb", "fad")
            values = {name: interval(0.3 + 0.1 * place["t_f"]) for name in names}
            rows.append({"point": point.name, "kind": point.kind} | place | values)
    return rows


def test_the_papers_own_values_are_all_there() -> None:
    assert tuple(paper_values.STREAMING) == grid.PAPER_T_F
    values = [value.coherence_both for value in paper_values.STREAMING.values()]
    told = [paper_values.normalised(value, "coherence_both") for value in values]
    assert told == pytest.approx(
        [0.14, 0.14, 0.17, 0.31, 0.33, 0.55, 0.71, 0.74, 0.77, 0.77, 0.77], abs=0.011
    )
    assert paper_values.normalised(0.565, "beat_f1") == pytest.approx(0.97, abs=0.005)


def test_rows_by_what_they_are() -> None:
    plane = plane_figures.read(made_up(grid.plane()))
    assert plane.finest == 0.1  # the k with most t_f, as one frame has three only
    assert len(plane.line(0.1)) == 11
    assert plane_figures.read(made_up(grid.paper())).finest == 0.02
    with pytest.raises(ValueError, match="hold no point of the plane"):
        plane_figures.read(made_up(()))
    with pytest.raises(ValueError, match="not the rows of a sweep"):
        plane_figures.read([{"t_f": 0}])


def test_controls_stand_beside_what_was_measured() -> None:
    rows = made_up(grid.plane())
    for row in rows:
        if row["kind"] == "unconditional":
            row["nb"] = None
    plane = plane_figures.read(rows)
    assert plane.deaf is not None
    assert [row["t_f"] for row in plane.shuffled] == [0, 1]
    panels = plane_figures.figure3(plane).axes
    told = ["no input" in {text.get_text() for text in ax.texts} for ax in panels]
    assert told == [False] * 3 + [True] * 3 + [True, False, False]
    labels = ["another song heard" in ax.get_legend_handles_labels()[1] for ax in panels]
    assert labels == [False] * 3 + [True] * 3 + [True, True, False]


def test_what_has_no_mean_or_a_bound_of_nothing_is_drawn_as_such() -> None:
    rows = made_up(grid.small())
    offline = {"kind": "offline", "point": "stemgen"}
    zero = {"mean": 0.1, "low": 0.0, "high": None}
    rows += [
        offline | {"fad": zero},
        offline | {"fad": {"mean": None, "low": None, "high": None}, "point": "other"},
    ]
    plane = plane_figures.read(rows)
    ax = plane_figures.new_figure(4, 3).subplots()
    plane_figures.draw_offline(ax, plane.offline, "fad", plane.t_fs)
    (bar,) = ax.containers
    ((below, above),) = bar.lines[2][0].get_segments()
    assert (below[1], above[1]) == (0.0, 0.1)
    for row in rows:
        if row["kind"] not in ("anchor", "offline"):
            row |= {
                metric: dict.fromkeys(("mean", "low", "high"))
                for metric in ("coherence_both", "nc_both", "nb")
            }
    figures = plane_figures.all_figures(plane_figures.read(rows))
    assert all(figure.startswith(PNG) for figure in figures.values())


def test_the_tables_tell_each_point_in_its_place() -> None:
    rows = made_up(tuple(reversed(grid.small())))
    for row in rows[2:]:
        k = row["k"]
        row |= {"first_half": {"nc_both": interval(0.2 * k)}, "second_half": {"nc_both": interval(0.5)}}
        row["nc_both"] = interval(row["t_f"] + k)
        if row["kind"] == "system":
            row["groups"] = {"drums": {"clips": 5, "nc_both": interval(10 * row["t_f"] + k)}}
    rows[-1]["nc_both"] = dict.fromkeys(("mean", "low", "high"))
    overview, other, by_k, by_group = report.tables(rows).split("\n\n")[1:]
    names = [line.split(" | ")[0].strip("| ") for line in overview.splitlines()[2:]]
    assert names == ["ground truth", "random pairing", *[""] * 8, "no input", *["another song's input"] * 2]
    assert [line.split(" | ")[1:3] for line in overview.splitlines()[4:12]] == [
        [t_f, k] for k in ("0.1", "1") for t_f in ("−1", "−0.4", "0", "1")
    ]
    assert "| 0.1 | 0.20 [0.10, 0.30] |" in overview  # coherence at t_f = −1 s
    assert "| −1 | 1 | 0.20 [0.10, 0.30] | 0.50 [0.40, 0.60] |" in other
    assert by_k.splitlines()[0] == "| NC by t_f (s) and k (s) | 0.1 | 1 |"
    assert by_k.splitlines()[3] == "| −0.4 | −0.30 [−0.40, −0.20] | 0.60 [0.50, 0.70] |"
    assert by_group.splitlines()[0] == "| NC by group (clips) and t_f (s), k = 0.1 s | −1 | −0.4 | 0 | 1 |"
    assert by_group.splitlines()[2].startswith("| drums (5) | −9.90 [−10.00, −9.80] | −3.90 [")
    assert "NC by" not in report.tables(
        [row for row in rows if row.get("k") != 1 and not row.pop("groups", None)]
    )


def test_figures_as_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in made_up(grid.small())))
    times = tmp_path / "machine.json"
    times.write_text('{"t_gen": {"0.1": 0.05, "1": 0.4}, "device_in": 0.01}')
    flags = ["--rows", rows, "--latency", times, "--out", tmp_path / "figures"]
    assert main(["sweep", "figures", *map(str, flags)]) == 0
    written = sorted((tmp_path / "figures").iterdir())
    pictures = [*(f"figure{n}.png" for n in range(1, 8)), "plane.png"]
    assert [path.name for path in written] == [*pictures, "tables.md"]
    assert all((tmp_path / "figures" / name).read_bytes().startswith(PNG) for name in pictures)
    assert [Path(line) for line in capsys.readouterr().out.splitlines()] == sorted(written)


def test_lines_show_means_and_their_intervals() -> None:
    plane = plane_figures.read(made_up(grid.small()))
    ax = plane_figures.new_figure(4, 3).subplots()
    plane_figures.draw_line(ax, plane.line(0.1), "nc_both", plane.t_fs, "k", "")
    assert ax.lines[0].get_ydata() == pytest.approx([0.2, 0.26, 0.3, 0.4])
    (band,) = ax.collections
    assert band.get_paths()[0].get_extents().y0 == pytest.approx(0.1)


def test_what_a_machine_holds() -> None:
    held = machine.Machine((0.1, 1.0), (0.05, 0.2), Latency(device_in=0.01, device_out=0.01), "")
    assert held.chunk_seconds(0.02) == 0.05  # no call is cheaper than the shortest that was timed
    assert held.chunk_seconds(0.55) == pytest.approx(0.125)
    assert held.chunk_seconds(2.0) == pytest.approx(0.4)
    assert held.holds(-0.2, 0.1)  # 0.02 + 0.075 + 0.05 = 0.145 s are spent
    assert not held.holds(-0.1, 0.1)
    assert not held.holds(-1.0, 0.02)  # 50 ms of work for 20 ms of sound


def test_reports_of_the_stream_are_read(tmp_path: Path) -> None:
    paths = []
    for k, p99 in ((1.0, 200), (0.1, 40)):
        paths.append(tmp_path / f"k{k}.json")
        paths[-1].write_text(json.dumps({"k": k, "t_f": -0.4, "step_ms": {"p50": 1, "p99": p99}}))
    held = machine.read(paths)
    assert (held.k, held.t_gen) == ((0.1, 1.0), (0.04, 0.2))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[]", "is no JSON object"),
        ("{", "is no JSON object"),
        ("{}", "tells no time of a chunk"),
        ('{"k": 0.1, "step_ms": {}}', "tells no times"),
        ('{"t_gen": {"soon": 1}}', "tells no times"),
        ('{"t_gen": {"0.1": -1}}', "t_gen wants"),
    ],
)
def test_bad_times_are_told(text: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "times.json").write_text(text)
    with pytest.raises(ValueError, match=what):
        machine.read([tmp_path / "times.json"])


def test_rows_on_disk(tmp_path: Path) -> None:
    store = RowStore(tmp_path / "out", {"clips": 1}, "point", ("nc",))
    store.add({"point": "a", "t_f": float("nan"), "nc": interval(0.5) | {"values": 3}})
    store.add({"point": "b", "nc": None})
    again = RowStore(tmp_path / "out", {"clips": 1}, "point", ("nc",))
    assert "a" in again
    assert again.rows["a"]["t_f"] is None
    assert (
        tmp_path / "out" / "rows.csv"
    ).read_text() == "point,t_f,nc,nc_low,nc_high,nc_of\na,,0.5,0.4,0.6,3\nb,,,,,\n"
    with pytest.raises(ValueError, match="was begun with clips = 1, not 2"):
        RowStore(tmp_path / "out", {"clips": 2}, "point", ())
    with pytest.raises(ValueError, match="holds something else"):
        RowStore(tmp_path, {}, "point", ())
    (tmp_path / "rows.jsonl").write_text('{"point": 1}\n{"po')
    with pytest.raises(ValueError, match="line 2 is damaged"):
        read_rows(tmp_path / "rows.jsonl")


def test_a_page_of_examples(tmp_path: Path) -> None:
    folders = named_folders(
        [f"good <one>={generated(tmp_path / 'good')}", f"lost={generated(tmp_path / 'lost', 'lost')}"]
    )
    out = tmp_path / "page"
    chosen = write_page(folders, out, 2)
    text = (out / "index.html").read_text()
    assert len(chosen) == 2
    assert "good &lt;one&gt;" in text
    assert "<one>" not in text
    sources = re.findall(r'src="([^"]+)"', text)
    assert len(sources) == 2 * (4 * 2 + 3)  # a picture and a sound of each of four, three mixes
    assert all((out / source).is_file() for source in sources)
    assert not re.search(r"https?:|//|@import|url\(", text)  # nothing from elsewhere
    sound, rate = soundfile.read(out / f"audio/{chosen[0]}_0.flac")
    heard, _ = soundfile.read(tmp_path / "good" / "input" / f"{chosen[0]}.flac")
    assert rate == 32_000
    assert np.array_equal(sound, heard)
    mix, _ = soundfile.read(out / f"audio/{chosen[0]}_2_mix.flac")
    assert 0.05 < np.abs(mix).max() <= 0.99
    with pytest.raises(ValueError, match="the folders hold 4 clips, not 5"):
        write_page(folders, out, 5)
    damaged = tmp_path / "lost" / "prediction" / f"{chosen[0]}.flac"
    damaged.write_bytes(b"no sound")
    with pytest.raises(ValueError, match=rf"{damaged} is damaged"):
        write_page(folders, tmp_path / "again", 2)


def test_a_tone_stands_where_it_belongs() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(32_000) / 32_000).astype(np.float32)
    levels = spectrogram(tone).mean(axis=1)
    edges = np.geomspace(50, 14_000, 73)
    assert edges[levels.argmax()] < 1040
    assert edges[levels.argmax() + 1] > 960
    assert levels.max() - np.median(levels) > 60


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["fly"], "unknown action 'fly': give run, figures"),
        (["run", "--rendered", "r", "--out", "o", "--clips", "1"], "--clips 1 is out of range"),
        (["run", "--rendered", "r", "--out", "o", "--train"], "say where they go by --specialists"),
        (["run", "--rendered", "r", "--out", "o", "--train", "--specialists", "s"], "--train needs --data"),
        (["run", "--rendered", "r", "--out", "o", "--codec", "c"], "belong to --train"),
        (["run", "--rendered", "r", "--out", "o", "--specialists", "nowhere"], "there is no folder nowhere"),
        (["run", "--rendered", "r", "--out", "o", "--grid", "papre"], "there is no grid 'papre'"),
        (["run", "--rendered", "r", "--out", "o", "--also", "stemgen"], "write NAME=MODEL"),
        (["run", "--rendered", "nowhere", "--out", "OUT", "--model", "duett"], "did you mean 'duet-small'"),
        (["run", "--rendered", "r", "--out", "o", "--also", "silence=m"], "another row is called 'silence'"),
        (
            ["run", "--rendered", "r", "--out", "o", "--also", "k0.1_tf-1=m"],
            "another row is called 'k0.1_tf-1'",
        ),
        (["run", "--rendered", "r", "--out", "o", "--also", "a=m", "a=n"], "another row is called 'a'"),
        (["figures", "--rows", "nowhere", "--out", "OUT"], "there is no file nowhere"),
        (["figures", "--latency", "a.json", "--out", "OUT"], "give its --rows, too"),
        (["page", "--folders", "a=nowhere", "--out", "OUT"], "there is no folder nowhere"),
        (["page", "--folders", "a=b", "--out", "OUT", "--clips", "0"], "--clips 0 is out of range"),
        (
            ["decoding", "--rendered", "r", "--out", "OUT", "--guidance", "-1"],
            "--guidance -1 is out of range",
        ),
        (["decoding", "--rendered", "r", "--out", "OUT", "--t-f"], "--t-f needs at least one value"),
        (["longplay", "--rendered", "r", "--minutes", "0"], "--minutes 0 is out of range"),
        (["longplay", "--rendered", "r", "--marks", "0.01"], "is too early"),
        (["longplay", "--rendered", "r", "--songs", "1"], "--songs 1 is out of range: give 2 to 1024"),
    ],
)
def test_what_makes_no_sense(
    arguments: list[str], what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert main(["sweep", *(out if each == "OUT" else each for each in arguments)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert what in said[0]
