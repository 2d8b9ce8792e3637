"""Folders as bandmate generate writes them, a study of them, and answers, all of them tiny."""

import http.client
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from bandmate.sweep.listening_study.answers import Store
from bandmate.sweep.listening_study.build import BuildConfig, build, sources_of
from bandmate.sweep.listening_study.desk import Desk
from bandmate.sweep.listening_study.study import Study, Trial
from bandmate.sweep.material import equal_loudness

RATE = 32_000
PAPER = ("Offline StemGen", "Offline Prefix Decoder", "t_f = 1", "t_f = 0", "t_f = -1")
ORDER = ("Ground Truth", *PAPER, "Random Pairing")  # from the most to the least preferred


def tone(hz: float, frames: int, level: float = 0.1) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(frames * 640) / RATE)).astype(np.float32)


def save(path: Path, audio: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, RATE, subtype="PCM_16")


def clip_folder(
    path: Path,
    hz: float = 300.0,
    clips: int = 6,
    frames: int = 50,
    inputs: Sequence[int] = (2,),
    songs: int = 3,
) -> Path:
    """Sine stems: clip c has inputs[c mod n] of them; the prediction is at ``hz``, the target at 400, random at 900."""
    rows = []
    for number in range(clips):
        clip, n_in = f"{number:05d}", inputs[number % len(inputs)]
        stems = [tone(500 + 250 * stem + 10 * number, frames, 0.02 * (stem + 1)) for stem in range(n_in)]
        equal, lufs = equal_loudness(stems, RATE)
        save(path / "input_equal" / f"{clip}.flac", equal)
        for name, each in (("prediction", hz), ("target", 400.0), ("target_codec", 410.0), ("random", 900.0)):
            save(path / name / f"{clip}.flac", tone(each + number, frames, 0.3 if name == "target" else 0.03))
        rows.append(
            {
                "clip": clip,
                "song": f"song{number % songs}",
                "instrument": "Bass",
                "n_in": n_in,
                "frames": frames,
                "equal_lufs": lufs,
                "model": "tiny",
                "t_f": 0,
                "k": 1,
            }
        )
    (path / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def seven(path: Path, **options: object) -> list[str]:
    """The paper's five models as NAME=FOLDER, each playing a tone of its own."""
    return [
        f"{name}={clip_folder(path / str(place), 150.0 + 20 * place, **options)}"  # type: ignore[arg-type]
        for place, name in enumerate(PAPER)
    ]


def small_study(path: Path, config: BuildConfig, **options: object) -> Study:
    """A study of the seven systems at path/study."""
    return build(sources_of(seven(path / "clips", **options)), path / "study", config)[0]


def answer_all(
    folder: Path,
    study: Study,
    people: int,
    prefer: Callable[[Trial, np.random.Generator], str],
    seed: int = 0,
) -> None:
    """Lets simulated people through the whole study, headphone check included."""
    rng = np.random.default_rng(seed)
    trials = study.trials()
    with Store(folder / "answers.jsonl", study) as store:
        desk = Desk(study, store)
        softest = {each.sound: each.softest for each in study.check}
        for _ in range(people):
            state = desk.begin({"check": {sound: softest[sound] for sound in desk.welcome()["check"]}})
            while state["trial"]:
                trial = state["trial"]["trial"]
                choice = prefer(trials[trial], rng)
                state = desk.answer({"participant": state["participant"], "trial": trial, "choice": choice})


def by_order(trial: Trial, rng: np.random.Generator) -> str:
    """Prefers the earlier system, the more surely the further apart, and does not always know."""
    if rng.random() < 0.05:
        return "none"
    sure = 0.75 + 0.06 * abs(trial.a - trial.b)
    return "a" if (trial.a < trial.b) == (rng.random() < sure) else "b"


def by_lot(trial: Trial, rng: np.random.Generator) -> str:
    return str(rng.choice(["a", "b", "none"], p=[0.4, 0.4, 0.2]))


def reply(state: dict[str, Any], choice: str = "a") -> dict[str, Any]:
    """An answer to the trial that a participant is at."""
    return {"participant": state["participant"], "trial": state["trial"]["trial"], "choice": choice}


def ask(port: int, method: str, path: str, content: Any = None) -> tuple[int, bytes, http.client.HTTPMessage]:
    """One request to a server on this machine: status, content, headers. Bytes are sent as they are, else JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        connection.request(method, path, body if method == "POST" else None)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()
