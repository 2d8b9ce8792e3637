"""The store, the desk, the server and the report."""

import csv
import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bandmate import cli
from bandmate.sweep.listening_study.answers import Answers, Store, read_answers
from bandmate.sweep.listening_study.build import BuildConfig
from bandmate.sweep.listening_study.desk import Desk, Refused
from bandmate.sweep.listening_study.report import (
    PAPER_SYSTEMS,
    PAPER_TABLE,
    csv_text,
    markdown,
    measure,
    paper_mark,
)
from bandmate.sweep.listening_study.server import Server
from bandmate.sweep.listening_study.study import Study
from tests.sweep.studies import ORDER, answer_all, ask, by_lot, by_order, reply, small_study

LISTS, TRIALS = 3, 21


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    root = tmp_path_factory.mktemp("served")
    return root / "study", small_study(
        root, BuildConfig(clips=1, trials=TRIALS, lists=LISTS, sound="wav"), clips=1
    )


@pytest.fixture
def study(built: tuple[Path, Study]) -> Study:
    return built[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


def open_desk(path: Path, study: Study) -> Desk:
    return Desk(study, Store(path, study))


def begun(desk: Desk) -> dict[str, Any]:
    softest = {each.sound: each.softest for each in desk.study.check}
    return desk.begin({"check": {sound: softest[sound] for sound in desk.welcome()["check"]}})


# The store.


def test_answers_survive_as_lines_with_nothing_but_a_random_id(path: Path, study: Study) -> None:
    with Store(path, study) as store:
        desk = Desk(study, store)
        state = begun(desk)
        desk.answer(reply(state, "none"))
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [sorted(line) for line in lines] == [["list", "participant"], ["choice", "participant", "trial"]]
    assert len(state["participant"]) == 16
    assert read_answers(path, study).given == {(state["participant"], "000-000"): "none"}


def test_every_answer_is_on_the_disk_before_it_is_confirmed(
    path: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (real(handle), synced.append(path.read_bytes())))
    with Store(path, study) as store:
        desk = Desk(study, store)
        desk.answer(reply(begun(desk)))
    assert synced[-1] == path.read_bytes()
    assert synced[-1].count(b"\n") == 2


@pytest.mark.parametrize("cut", range(1, 40, 6))
def test_half_a_last_line_is_told_and_harms_nothing(path: Path, study: Study, cut: int) -> None:
    with Store(path, study) as store:
        desk = Desk(study, store)
        state = begun(desk)
        desk.answer(reply(state))
    path.write_bytes(path.read_bytes()[:-cut])
    whole = cut == 1  # only the line's end was lost
    told = read_answers(path, study)
    assert (told.damaged, len(told.given)) == (([], 1) if whole else ([2], 0))
    with Store(path, study) as store:
        desk = Desk(study, store)
        after = desk.state(state["participant"])
        assert after["done"] == (1 if whole else 0)
        desk.answer(reply(after))
    again = read_answers(path, study)
    assert (again.damaged, len(again.given)) == (([], 2) if whole else ([2], 1))


def test_a_failed_write_is_told_and_the_next_one_is_whole(
    path: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(path, study) as store:
        desk = Desk(study, store)
        state = begun(desk)
        real = os.write
        monkeypatch.setattr(os, "write", lambda handle, content: real(handle, content[:9]))
        with pytest.raises(OSError, match="disk is full"):
            desk.answer(reply(state))
        assert desk.state(state["participant"])["done"] == 0
        monkeypatch.undo()
        assert desk.answer(reply(state))["done"] == 1
    told = read_answers(path, study)
    assert (told.damaged, len(told.given)) == ([2], 1)


def test_two_servers_never_share_a_store(path: Path, study: Study) -> None:
    with Store(path, study), pytest.raises(ValueError, match="being served already"):
        Store(path, study)
    Store(path, study).close()


def test_an_answer_counts_once_the_first_one(path: Path, study: Study) -> None:
    line = {"participant": "p", "trial": "000-000", "choice": "a"}
    rows = [{"participant": "p", "list": 0}, line, line | {"choice": "b"}, line | {"choice": "x"}]
    rows += [line | {"trial": "001-000"}, line | {"participant": "q"}, {"participant": "r", "list": 99}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "\nnull\n[1]\n")
    told = read_answers(path, study)
    assert told.given == {("p", "000-000"): "a"}
    assert (told.repeated, told.damaged, told.foreign) == (1, [4, 9, 10], 3)


# The desk.


def test_lists_go_round_and_a_participant_goes_on_where_they_were(path: Path, study: Study) -> None:
    with Store(path, study) as store:
        desk = Desk(study, store)
        people = [begun(desk)["participant"] for _ in range(LISTS + 1)]
        state = desk.state(people[1])
        desk.answer(reply(state))
        assert [store.answers.participants[person] for person in people] == [0, 1, 2, 0]
    with Store(path, study) as store:
        state = Desk(study, store).state(people[1])
        assert (state["done"], state["of"], state["trial"]["trial"]) == (1, TRIALS, "001-001")


def test_the_page_learns_no_system(path: Path, study: Study) -> None:
    with Store(path, study) as store:
        desk = Desk(study, store)
        state = begun(desk)
        told = json.dumps([desk.welcome(), state, desk.answer(reply(state))])
        assert not any(name in told for name in ORDER)
        trial = study.lists[0][0]
        assert state["trial"]["a"] == study.clips[0].sounds[trial.a]
        assert state["trial"]["b"] == study.clips[0].sounds[trial.b]


def test_an_answer_sent_twice_stays_as_it_was(path: Path, study: Study) -> None:
    with Store(path, study) as store:
        desk = Desk(study, store)
        state = begun(desk)
        first = desk.answer(reply(state, "a"))
        assert desk.answer(reply(state, "b")) == first
    assert path.read_text().count("trial") == 1


def test_who_fails_the_headphone_check_does_not_begin(path: Path, study: Study) -> None:
    with Store(path, study) as store:
        desk = Desk(study, store)
        wrong = {each.sound: each.softest % 3 + 1 for each in study.check[:3]}
        assert desk.begin({"check": wrong}) == {"passed": False}
        for answers in (None, [], {}, {"x": 1}, dict(list(wrong.items())[:2])):
            with pytest.raises(Refused, match="wants 3 answers"):
                desk.begin({"check": answers})
        assert store.answers == Answers()


# The server.


@pytest.fixture(scope="module")
def served(built: tuple[Path, Study]) -> Iterator[tuple[int, Study]]:
    folder, study = built
    with Store(folder / "answers.jsonl", study) as store:
        server = Server(("127.0.0.1", 0), Desk(study, store))
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
        thread.start()
        yield server.server_port, study
        server.shutdown()
        thread.join()
        server.server_close()


def test_page_sounds_and_answers_over_http(served: tuple[int, Study]) -> None:
    port, study = served
    for path, kind in (("/", "text/html"), ("/study.css", "text/css"), ("/player.js", "text/javascript")):
        status, content, headers = ask(port, "GET", path)
        assert (status, headers["Content-Type"].split(";")[0]) == (200, kind)
        assert b"http://" not in content  # no external resources
        assert b"https://" not in content
        assert headers["Content-Security-Policy"].startswith("default-src 'self'")
    check = {each.sound: each.softest for each in study.check[:3]}
    status, content, _ = ask(port, "POST", "/api/participants", {"check": check})
    state = json.loads(content)
    assert (status, state["done"]) == (200, 0)
    assert json.loads(ask(port, "POST", "/api/answers", reply(state))[1])["done"] == 1
    assert json.loads(ask(port, "GET", f"/api/participants/{state['participant']}")[1])["done"] == 1
    status, content, headers = ask(port, "GET", f"/audio/{state['trial']['a']}")
    assert (status, headers["Content-Type"], content[:4]) == (200, "audio/wav", b"RIFF")
    assert ask(port, "HEAD", "/")[1] == b""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"participant": "nobody"}, "unknown participant"),
        ({"participant": None}, "unknown participant"),
        ({"trial": "999-000"}, "unknown trial"),
        ({"trial": ["x"]}, "unknown trial"),
        ({"choice": "c"}, "a choice is one of a, none, b"),
        ({"choice": {}}, "a choice is one of a, none, b"),
    ],
)
def test_an_answer_that_makes_no_sense_is_http_400(
    served: tuple[int, Study], change: dict[str, Any], message: str
) -> None:
    port, study = served
    check = {each.sound: each.softest for each in study.check[:3]}
    state = json.loads(ask(port, "POST", "/api/participants", {"check": check})[1])
    status, content, _ = ask(port, "POST", "/api/answers", reply(state) | change)
    assert (status, json.loads(content)) == (400, {"error": message})


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/api/answers", b"{", 400),
        ("POST", "/api/answers", b"[" * 3000, 400),
        ("POST", "/api/answers", b"\xff", 400),
        ("POST", "/api/answers", [], 400),
        ("POST", "/api/answers", b" " * 5000, 400),
        ("POST", "/api/participants", {}, 400),
        ("POST", "/other", {}, 404),
        ("GET", "/api/participants/nobody", None, 404),
        ("GET", "/study.json", None, 404),
        ("GET", "/answers.jsonl", None, 404),
        ("GET", "/audio/../study.json", None, 404),
        ("GET", "/audio/%2e%2e%2fstudy.json", None, 404),
        ("GET", "/audio/0", None, 404),
    ],
)
def test_other_requests_are_refused(
    served: tuple[int, Study], method: str, path: str, content: Any, status: int
) -> None:
    told, body, _ = ask(served[0], method, path, content)
    assert told == status
    assert "error" in json.loads(body)


def test_nothing_is_logged(served: tuple[int, Study], capfd: pytest.CaptureFixture[str]) -> None:
    ask(served[0], "GET", "/")
    ask(served[0], "GET", "/none")
    assert capfd.readouterr() == ("", "")


# The report and the command line.


def run(*arguments: object) -> int:
    return cli.main(["study", *map(str, arguments)])


def test_simulated_people_with_a_known_order_are_understood(path: Path, study: Study) -> None:
    answer_all(path.parent, study, 12, by_order)
    report = measure(study, read_answers(path, study))
    rates = [row["win_rate"]["mean"] for row in report["systems"]]
    assert [row["system"] for row in report["systems"]] == list(ORDER)
    assert rates[0] == max(rates)
    assert rates[-1] == min(rates)
    ends = next(pair for pair in report["pairs"] if (pair["a"], pair["b"]) == (0, 6))
    assert ends["significant"]
    text = markdown(report)
    assert "| Ground Truth | N/A |" in text
    assert text.count("N/A") == 7
    rows = list(csv.DictReader(io.StringIO(csv_text(report))))
    assert len(rows) == 42
    assert {row["paper"] for row in rows} == {"*", "!"}
    assert float(rows[0]["difference"]) == -float(rows[6]["difference"])


def test_answers_by_lot_are_not_significant(path: Path, study: Study) -> None:
    answer_all(path.parent, study, 12, by_lot, seed=5)
    report = measure(study, read_answers(path, study))
    assert not any(pair["significant"] for pair in report["pairs"])
    assert report["kruskal_wallis"]["p"] > 0.05


def test_analyse_writes_all_and_says_what_it_left_out(
    path: Path, built: tuple[Path, Study], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, study = built
    answer_all(tmp_path, study, 2, by_order)
    last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(last[:-1]) + last[-2] + last[-1][:-9])
    outputs = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "markdown")}
    files = [part for name, file in outputs.items() for part in (f"--{name}", file)]
    assert run("analyse", folder, "--answers", path, "--plot", tmp_path / "out.png", *files) == 0
    told = capsys.readouterr().out
    assert told == outputs["markdown"].read_text()
    for note in (
        f"Lines that cannot be read (cut off by a crash) and are left out: {2 * TRIALS + 3}.",
        "Answers to a trial that was answered before: 1; the first one counts.",
        "1 of 2 who began did not finish; what they answered counts.",
        "Too few participants: whatever they answer, no pair can reach the level.",
    ):
        assert f"- {note}" in told
    assert json.loads(outputs["json"].read_text())["answers"] == 2 * TRIALS - 1
    assert (tmp_path / "out.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["bake"], "unknown action 'bake'"),
        (["analyse", "none"], "there is no folder none"),
        (["analyse", "STUDY", "--answers", "none"], "nobody has answered yet"),
        (["analyse", "STUDY", "--plot", "x.pdf"], "--plot writes PNG only"),
        (["serve", "."], "was not made by bandmate study build"),
        (["serve", "STUDY", "--port", "70000"], "--port 70000 is out of range"),
        (["build", "a=none", "--out", "x"], "there is no folder none"),
        (["build", "a=none", "--out", "x", "--participants", "0"], "--participants must be 1 or more"),
    ],
)
def test_bad_use_is_one_line(
    built: tuple[Path, Study], arguments: list[str], complaint: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(*(str(built[0]) if each == "STUDY" else each for each in arguments)) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1


def test_a_port_in_use_is_one_line(
    served: tuple[int, Study], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_study(tmp_path, BuildConfig(clips=1, trials=1, lists=1, sound="wav"), clips=1)
    assert run("serve", tmp_path / "study", "--port", served[0]) == 2
    assert f"cannot listen at 127.0.0.1, port {served[0]}" in capsys.readouterr().err


def test_serve_refuses_a_study_without_its_sounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = small_study(tmp_path, BuildConfig(clips=1, trials=1, lists=1, sound="wav"), clips=1)
    (tmp_path / "study" / "audio" / f"{study.clips[0].input}.wav").unlink()
    assert run("serve", tmp_path / "study") == 2
    assert "1 sounds are missing" in capsys.readouterr().err


def test_the_papers_table_is_symmetric_and_found_by_name() -> None:
    for row in range(7):
        for column in range(7):
            assert PAPER_TABLE[row][column] == PAPER_TABLE[column][row]
    assert paper_mark("ground truth", "offline prefix decoder") == "*"
    assert paper_mark("t_f=−1", "random pairing") == "!"
    assert paper_mark("duet", "Ground Truth") is None
    assert PAPER_SYSTEMS == ORDER
