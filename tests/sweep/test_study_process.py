"""``bandmate study serve`` as a program of its own: answers over HTTP, a kill in the middle, the same command again."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bandmate import cli
from bandmate.sweep.listening_study.build import BuildConfig
from bandmate.sweep.listening_study.study import Study
from tests.sweep.studies import ORDER, ask, reply, small_study

ROOT = Path(__file__).resolve().parents[2]
TRIALS, PEOPLE, KILLED_AFTER = 21, 4, 30  # the second participant is in mid-study when the server dies


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command as it is typed, and the port it says it took."""
    command = [sys.executable, "-m", "bandmate.cli", "study", "serve", str(folder), "--port", "0"]
    process = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip  # tests that run in the background are deaf to Ctrl-C, and so would be what they start
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.match(r"http://127\.0\.0\.1:(\d+)/ serves ", said)
        assert found, said or process.communicate()[1]
        yield process, int(found[1])
    finally:
        process.kill()
        process.communicate()


class Listener:
    """Prefers the earlier system always; remembers what the server has confirmed."""

    def __init__(self, study: Study) -> None:
        self.study, self.trials, self.confirmed = study, study.trials(), 0
        self.begun: list[str] = []
        self.enough = threading.Event()

    def begin(self, port: int) -> dict[str, Any]:
        check = {each.sound: each.softest for each in self.study.check[:3]}
        state = json.loads(ask(port, "POST", "/api/participants", {"check": check})[1])
        self.begun.append(state["participant"])
        return state

    def finish(self, port: int, state: dict[str, Any]) -> None:
        """Answers what is left of a participant's list."""
        while state["trial"]:
            trial = self.trials[state["trial"]["trial"]]
            status, content, _ = ask(
                port, "POST", "/api/answers", reply(state, "a" if trial.a < trial.b else "b")
            )
            assert status == 200, content
            state = json.loads(content)
            self.confirmed += 1
            if self.confirmed == KILLED_AFTER:
                self.enough.set()

    def all_of_them(self, port: int) -> None:
        """One participant after the other, until the connection breaks."""
        try:
            for _ in range(PEOPLE):
                self.finish(port, self.begin(port))
        except (OSError, http.client.HTTPException):
            pass


@pytest.mark.slow
def test_a_killed_server_has_every_confirmed_answer_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = small_study(tmp_path, BuildConfig(clips=1, trials=TRIALS, lists=2, sound="wav"), clips=1)
    folder, listener = tmp_path / "study", Listener(study)
    with serving(folder) as (process, port):
        thread = threading.Thread(target=listener.all_of_them, args=(port,))
        thread.start()
        assert listener.enough.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait()
        thread.join()
    confirmed = listener.confirmed
    assert KILLED_AFTER <= confirmed < PEOPLE * TRIALS, "it was not killed in the middle"
    assert cli.main(["study", "analyse", str(folder), "--json", str(tmp_path / "half.json")]) == 0
    assert json.loads((tmp_path / "half.json").read_text())["answers"] - confirmed in (0, 1)

    with serving(folder) as (process, port):
        people = [json.loads(ask(port, "GET", f"/api/participants/{each}")[1]) for each in listener.begun]
        # What was confirmed counts; one more may have reached the disk without a word to the page.
        assert sum(each["done"] for each in people) - confirmed in (0, 1)
        people += [listener.begin(port) for _ in range(PEOPLE - len(people))]
        for state in people:
            listener.finish(port, state)
        process.send_signal(signal.SIGINT)
        said, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.startswith(f"{PEOPLE * TRIALS} answers of ")
    assert complaint == "bandmate study: interrupted\n"

    capsys.readouterr()
    assert cli.main(["study", "analyse", str(folder), "--json", str(tmp_path / "whole.json")]) == 0
    report = json.loads((tmp_path / "whole.json").read_text())
    assert report["answers"] == PEOPLE * TRIALS
    rates = {row["system"]: row["win_rate"]["mean"] for row in report["systems"]}
    assert rates == pytest.approx({name: 1 - place / 6 for place, name in enumerate(ORDER)})
