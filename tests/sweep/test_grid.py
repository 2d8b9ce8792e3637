"""Grids, their files, and a tiny sweep from one end to the other: resumed, spread, the same rows."""

import csv
import dataclasses
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bandmate.spec import StreamSpec
from bandmate.sweep import grid, plane, specialists, spread
from bandmate.sweep.grid import Point
from bandmate.sweep.material import PlacesConfig
from bandmate.sweep.plane import PlaneConfig, Sweep
from bandmate.sweep.row_store import read_rows
from bandmate.sweep.scoring import ScoreConfig
from bandmate.sweep.specialists import OneModel, Specialists, Training
from bandmate.sweep.spread import Spread
from tests.evaluate.fakes import listener
from tests.train.code_store import write_code_store

ROOT = Path(__file__).resolve().parents[2]
TWO = (*grid.cross((0.0, 0.4), (0.1,)), *grid.cross((0.4,), (0.1,), "shuffled"))


def tiny_sweep(rendered: Path, bundle: Path, out: Path, **more: Any) -> Sweep:
    scoring = ScoreConfig(listener, out / "heard", groups=True, fad_draws=2)
    places = PlacesConfig(frames=100, post=25, most=None)
    config = PlaneConfig(scoring, places, clips=4, seeds=2, batch=4, threads=1)
    return Sweep(rendered, out, OneModel(str(bundle)), dataclasses.replace(config, **more), TWO[0])


@pytest.fixture(scope="module")
def finished(
    rendered: Path, bundle_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Any]]:
    out = tmp_path_factory.mktemp("sweep") / "out"
    return out, plane.run(*reversed(plane.begin(TWO, tiny_sweep(rendered, bundle_path, out))), Spread())


def test_the_papers_grid_is_the_papers() -> None:
    systems = [point for point in grid.paper() if point.kind == "system"]
    one = {point.spec.t_f for point in systems if point.spec and point.spec.k == 1}
    assert one == {-200, -100, -50, -20, -10, 0, 10, 20, 50, 100, 200}
    rest = [(point.spec.t_f, point.spec.k) for point in systems if point.spec and point.spec.k > 1]
    assert {k for _, k in rest} == {2, 5, 10, 50, 100}
    assert {t_f for t_f, _ in rest} == one - {-200, 200}
    assert len(systems) == 11 + 45


@pytest.mark.parametrize("name", grid.NAMED)
def test_names_are_unique_and_inputs_long_enough(name: str) -> None:
    points = grid.load(name)
    assert len({point.name for point in points}) == len(points)
    assert grid.frames_after(points, 500) <= PlacesConfig().post  # so that all grids share their clips


def test_the_plane_is_what_the_issue_asks_for() -> None:
    specs = [point.spec for point in grid.plane() if point.kind == "system" and point.spec]
    assert len({s.t_f for s in specs if s.k == 5}) >= 9
    for t_f in (-20, 0, 50):
        assert len({s.k for s in specs if s.t_f == t_f}) >= 5
    assert len(specs) == len(set(specs)) == 26


def test_a_grid_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        "points:\n- {t_f: [0, -0.2], k: 0.1}\n- {t_f: 1, k: [0.02, 1]}\nshuffled: [{t_f: 0, k: 0.1}]\nunconditional: true\n"
    )
    points = grid.load(str(path))
    assert [point.name for point in points] == [
        "k0.1_tf-0.2", "k0.1_tf+0", "k0.02_tf+1", "k1_tf+1", "shuffled_k0.1_tf+0", "unconditional_k0.1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "must hold 'points'"),
        ("points: []", "must hold 'points'"),
        ("points: [{t_f: 0}]", "every entry is"),
        ("points: [{t_f: 0, k: 0}]", "k takes seconds from 0.02 to 60, not 0"),
        ("points: [{t_f: .nan, k: 1}]", "t_f takes seconds"),
        ("points: [{t_f: [], k: 1}]", "t_f is empty"),
        ("points: [{t_f: soon, k: 1}]", "not 'soon'"),
        ("point: 1\npoints: [{t_f: 0, k: 1}]", "unknown key 'point'"),
        ("points: {t_f", "is no YAML"),
    ],
)
def test_bad_grids_are_told(text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=what):
        grid.load(str(path))


def test_no_such_grid() -> None:
    with pytest.raises(FileNotFoundError, match="give paper, plane, small or a YAML file"):
        grid.load("papre")


def test_rows_anchors_and_intervals(finished: tuple[Path, list[Any]]) -> None:
    out, rows = finished
    by_name = {row["point"]: row for row in rows}
    assert list(by_name)[:4] == ["ground truth", "ground truth, codec", "random pairing", "silence"]
    assert list(by_name)[4:] == ["k0.1_tf+0", "k0.1_tf+0.4", "shuffled_k0.1_tf+0.4"]
    point = by_name["k0.1_tf+0.4"]
    assert (point["t_f"], point["k"], point["seeds"], point["clips"], point["songs"]) == (0.4, 0.1, 2, 4, 4)
    low, mean, high = (point["coherence_both"][bound] for bound in ("low", "mean", "high"))
    assert low < mean < high
    assert len(point["beat_f1"]["by_seed"]) == 2
    assert by_name["ground truth"]["nc_both"] is None or by_name["ground truth"]["nc_both"]["mean"] == 1
    assert by_name["ground truth"]["networks"]["coherence"]["name"] == "fake coherence"
    assert sum(group["clips"] for group in point["groups"].values()) == 4
    assert point["fad"]["mean"] > 0
    assert {row["point"] for row in read_rows(out / "rows.jsonl")} == set(by_name)
    with (out / "rows.csv").open() as file:
        lines = {line["point"]: line for line in csv.DictReader(file)}
    assert float(lines["k0.1_tf+0.4"]["coherence_both_low"]) == low
    assert lines["k0.1_tf+0.4"]["t_f"] == "0.4"


def test_nothing_is_made_twice_and_what_is_missing_is(
    finished: tuple[Path, list[Any]], rendered: Path, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rows = finished
    text = (out / "rows.jsonl").read_text()
    kept = [line for line in text.splitlines() if '"point": "k0.1_tf+0.4"' not in line]
    (out / "rows.jsonl").write_text("\n".join(kept) + "\n")  # as if killed before that row
    made: list[str] = []
    measure = plane.measure
    monkeypatch.setattr(
        plane, "measure", lambda sweep, point: made.append(point.name) or measure(sweep, point)
    )
    points, sweep = plane.begin(TWO, tiny_sweep(rendered, bundle_path, out))
    again = plane.run(sweep, points, Spread())
    assert made == ["k0.1_tf+0.4"]
    assert json.dumps(again) == json.dumps(rows)


@pytest.mark.slow
def test_processes_make_the_same_rows(
    finished: tuple[Path, list[Any]], rendered: Path, bundle_path: Path, tmp_path: Path
) -> None:
    points, sweep = plane.begin(TWO[:2], tiny_sweep(rendered, bundle_path, tmp_path / "out"))
    rows = plane.run(sweep, points, Spread(workers=2))
    same = {row["point"]: row for row in finished[1]}
    assert [json.dumps(row) for row in rows] == [json.dumps(same[row["point"]]) for row in rows]


@pytest.mark.slow
def test_a_cluster_makes_the_same_rows(
    finished: tuple[Path, list[Any]], rendered: Path, bundle_path: Path, tmp_path: Path
) -> None:
    """Ray leaves processes behind that pytest would complain of, so it gets one of its own."""
    command = [
        sys.executable,
        "-m",
        "tests.sweep.on_cluster",
        *map(str, (rendered, bundle_path, tmp_path / "out")),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows, complaint = map(json.loads, done.stdout.splitlines()[-2:])
    same = {row["point"]: row for row in finished[1]}
    assert rows == [same[row["point"]] for row in rows]
    assert [row["point"] for row in rows[4:]] == [point.name for point in TWO[:2]]
    assert "no rendered tracks" in complaint


def test_other_settings_want_another_folder(
    finished: tuple[Path, list[Any]], rendered: Path, bundle_path: Path
) -> None:
    points, sweep = plane.begin(TWO, tiny_sweep(rendered, bundle_path, finished[0], clips=3))
    with pytest.raises(ValueError, match="was begun with clips = 4, not 3"):
        plane.run(sweep, points, Spread())


def test_a_grid_may_grow(rendered: Path, bundle_path: Path, tmp_path: Path) -> None:
    """Clips stay like those of the point that the folder was begun with, also when others come first or were discarded."""
    few: dict[str, Any] = {"seeds": 1, "clips": 2, "discard": True}
    points, sweep = plane.begin(TWO[:2], tiny_sweep(rendered, bundle_path, tmp_path, **few))
    earlier = plane.run(sweep, points, Spread())
    points, sweep = plane.begin((TWO[1], *TWO[:1]), tiny_sweep(rendered, bundle_path, tmp_path, **few))
    assert sweep.base == TWO[1]
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in earlier[:-1])
    )  # but the last
    again = plane.run(sweep, points, Spread())
    assert {row["point"]: json.dumps(row) for row in again} == {
        row["point"]: json.dumps(row) for row in earlier
    }


def test_rows_heard_by_other_networks_are_refused(
    rendered: Path, bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points, sweep = plane.begin(TWO[:1], tiny_sweep(rendered, bundle_path, tmp_path, seeds=1, clips=2))
    anchors = plane.first
    other = {"coherence": {"name": "another", "version": "1"}}
    monkeypatch.setattr(plane, "first", lambda *given: [row | {"networks": other} for row in anchors(*given)])
    with pytest.raises(ValueError, match=r"a worker listened with .*another"):
        plane.run(sweep, points, Spread())
    monkeypatch.undo()
    assert not (tmp_path / "rows.jsonl").exists()
    plane.run(sweep, points, Spread())
    monkeypatch.setattr(plane, "about_networks", lambda _: other)
    with pytest.raises(ValueError, match="was begun with networks"):
        plane.run(sweep, points, Spread())


def test_anchors_are_there_all_together_or_not_at_all(
    rendered: Path, bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points, sweep = plane.begin(TWO[:1], tiny_sweep(rendered, bundle_path, tmp_path, seeds=1, clips=2))
    seen: list[str] = []

    def killed(row: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
        seen.append(row["point"])
        if len(seen) == 3:
            raise KeyboardInterrupt
        return row

    monkeypatch.setattr(plane, "alike", killed)
    with pytest.raises(KeyboardInterrupt):
        plane.run(sweep, points, Spread())
    monkeypatch.undo()
    assert seen == ["ground truth", "ground truth, codec", "random pairing"]
    rows = plane.run(sweep, points, Spread())
    assert [row["point"] for row in rows if row["kind"] == "anchor"] == [*seen, "silence"]


def test_damaged_settings_are_told_in_one_line(rendered: Path, bundle_path: Path, tmp_path: Path) -> None:
    points, sweep = plane.begin(TWO[:1], tiny_sweep(rendered, bundle_path, tmp_path))
    for content in ("{", "[]"):
        (tmp_path / "settings.json").write_text(content)
        with pytest.raises(ValueError, match="is damaged: give another --out"):
            plane.run(sweep, points, Spread())


def test_discarded_clips(rendered: Path, bundle_path: Path, tmp_path: Path) -> None:
    points, sweep = plane.begin(
        TWO[:2], tiny_sweep(rendered, bundle_path, tmp_path, discard=True, seeds=1, clips=2)
    )
    plane.run(sweep, points, Spread())
    assert [path.name for path in (tmp_path / "clips").iterdir()] == ["k0.1_tf+0"]


def test_a_specialist_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"k0.1_tf-0.4 holds no model for StreamSpec"):
        Specialists(tmp_path).model(Point(StreamSpec(-20, 5)))
    with pytest.raises(ValueError, match="there is no preset 'decoda'"):
        specialists.config_of(Point(StreamSpec(0, 1)), Training(tmp_path, "", ("decoda", "prefix-decoder")))


def test_points_that_share_a_model_train_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A point and its shuffled twin at the same time, as two workers have them."""
    trained: list[Path] = []

    def train(folder: Path, *_: Any) -> None:
        trained.append(folder)
        time.sleep(0.2)
        folder.mkdir()  # as a rename: it fails where the folder is there
        (folder / "config.yaml").touch()

    monkeypatch.setattr(specialists, "train", train)
    models = Specialists(tmp_path / "models", Training(tmp_path, ""))
    with ThreadPoolExecutor(2) as pool:
        points = [Point(StreamSpec(20, 5), kind) for kind in ("system", "shuffled")]
        assert list(pool.map(models.model, points)) == [str(tmp_path / "models" / "k0.1_tf+0.4")] * 2
    assert len(trained) == 1


class RayError(Exception):
    """Stands for Ray's own, of which the next two are."""


class RayTaskError(RayError):
    cause: Exception | None = None


class WorkerCrashedError(RayError):
    pass


@pytest.mark.parametrize(
    ("error", "kind", "what"),
    [
        (WorkerCrashedError("it died\nunexpectedly"), OSError, "WorkerCrashedError: it died unexpectedly"),
        (RayTaskError("pages of it"), OSError, "pages of it"),
        (RayTaskError(), ValueError, "the cause"),
    ],
)
def test_what_a_cluster_loses_is_told_in_one_sentence(
    error: Exception, kind: type[Exception], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(_: object) -> None:
        raise error

    if kind is ValueError:
        error.cause = ValueError("the cause")  # type: ignore[attr-defined]
    names = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
    task = SimpleNamespace(remote=lambda work, item: item)
    ray = SimpleNamespace(
        remote=lambda **_: lambda _: task,
        wait=lambda waiting, num_returns: (waiting[:1], waiting[1:]),
        get=get,
        cancel=lambda *_, force: None,
        exceptions=names,
    )
    monkeypatch.setattr(spread, "connect", lambda _: ray)
    with pytest.raises(kind, match=what) as told:
        list(Spread(cluster="local")(str, [1, 2]))
    assert "\n" not in str(told.value)


@pytest.mark.slow
def test_specialists_are_trained_for_their_points(rendered: Path, bundle_path: Path, tmp_path: Path) -> None:
    from bandmate.checkpoint import load_bundle

    store = write_code_store(tmp_path / "store")
    small_steps = ("steps=2", "steps_per_epoch=2", "validate_every=9", "batch=4", "parts=1")
    training = Training(store, str(bundle_path), ("decoder-tiny", "prefix-decoder-tiny"), small_steps)
    models = Specialists(tmp_path / "models", training)
    points = (
        *grid.cross((0.1,), (0.02,)),
        *grid.cross((-0.2,), (0.1,)),
        Point(StreamSpec(0, 1), "unconditional"),
    )
    sweep = tiny_sweep(rendered, bundle_path, tmp_path / "out", seeds=1, clips=2)
    points, sweep = plane.begin(points, dataclasses.replace(sweep, models=models))
    rows = plane.run(sweep, points, Spread())
    assert [row["point"] for row in rows if row["kind"] != "anchor"] == ["k0.02_tf+0.1", "k0.1_tf-0.2"]
    config = load_bundle(str(tmp_path / "models" / "k0.1_tf-0.2")).model.config
    assert (config.t_f, config.k) == (-10, 5)
    assert plane.run(sweep, points, Spread()) == rows
    weights = tmp_path / "models" / "k0.1_tf-0.2" / "model.safetensors"
    last = weights.read_bytes()[-1:]
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")  # as if it had been trained anew
    with pytest.raises(ValueError, match=r"holds a row 'k0\.1_tf-0\.2' that another model played"):
        plane.run(sweep, points, Spread())
    weights.write_bytes(weights.read_bytes()[:-1] + last)
    assert plane.run(sweep, points, Spread()) == rows
    card = weights.with_name("config.yaml")
    card.write_text(card.read_text().replace("top_k: 200", "top_k: 3"))
    with pytest.raises(ValueError, match="that another model played"):
        plane.run(sweep, points, Spread())
    weights.unlink()  # what a model that is gone played stays
    assert plane.run(sweep, points, Spread()) == rows
    longer = dataclasses.replace(training, settings=(*small_steps[1:], "steps=4"))
    with pytest.raises(ValueError, match="was begun with training = "):
        plane.run(
            dataclasses.replace(sweep, models=dataclasses.replace(models, training=longer)), points, Spread()
        )
    found = dataclasses.replace(sweep, models=Specialists(models.folder))  # nothing is to be trained any more
    assert plane.run(found, points, Spread()) == rows
