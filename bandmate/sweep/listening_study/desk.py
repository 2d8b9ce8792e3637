"""What the page may ask, without any HTTP: to begin, to go on, to answer. Names of systems never pass this desk."""

import random
import secrets
import threading
from typing import Any

from bandmate.evaluate.study import PREFERRED
from bandmate.sweep.listening_study.answers import Store, waiting
from bandmate.sweep.listening_study.study import Study

CHECKS = 3  # tasks of the headphone check; all must be right, which guessing does once in 27


class Refused(ValueError):
    """A request that makes no sense; its message is for the page."""


class Desk:
    """One study and its store. Safe to ask from several threads."""

    def __init__(self, study: Study, store: Store) -> None:
        self.study, self.store = study, store
        self._trials = study.trials()
        self._softest = {each.sound: each.softest for each in study.check}
        self._lock = threading.Lock()

    def welcome(self) -> dict[str, Any]:
        """What the first page needs. The tasks of the headphone check are drawn anew each time."""
        count = min(CHECKS, len(self.study.check))
        return {
            "id": self.study.id,
            "title": self.study.title,
            "trials": len(self.study.lists[0]),
            "seconds": self.study.seconds,
            "listen": self.study.listen,
            "check": [each.sound for each in random.sample(self.study.check, count)],
        }

    def begin(self, request: dict[str, Any]) -> dict[str, Any]:
        """{"check": {sound: 1, 2 or 3}} -> a new participant with the list that fewest have; or {"passed": False}."""
        if self.study.check and not self.passed(request.get("check")):
            return {"passed": False}
        person = secrets.token_hex(8)
        with self._lock:
            taken = list(self.store.answers.participants.values())
            number = min(range(len(self.study.lists)), key=taken.count)
            self.store.append({"participant": person, "list": number})
        return {"passed": True, **self.state(person)}

    def passed(self, answers: Any) -> bool:
        """Whether all tasks were done rightly. Refused unless as many different ones as there are were answered."""
        count = min(CHECKS, len(self.study.check))
        if not isinstance(answers, dict) or len(answers) != count or not set(answers) <= set(self._softest):
            raise Refused(f"the headphone check wants {count} answers")
        return all(self._softest[sound] == answer for sound, answer in answers.items())

    def state(self, person: str) -> dict[str, Any]:
        """How far somebody is, and the next trial, None at the end. Refused for a participant who never began."""
        number = self.store.answers.participants.get(person)
        if number is None:
            raise Refused("unknown participant")
        trials = self.study.lists[number]
        left = waiting(trials, person, self.store.answers)
        trial = left[0] if left else None
        ahead = [self.sounds(each.id) for each in left[1:2]]
        return {
            "participant": person,
            "done": len(trials) - len(left),
            "of": len(trials),
            "trial": {"trial": trial.id, **self.sounds(trial.id)} if trial else None,
            "ahead": [name for each in ahead for name in (each["a"], each["b"], each["input"])],
        }

    def sounds(self, trial_id: str) -> dict[str, Any]:
        """What is heard in a trial, under names that tell nothing."""
        trial = self._trials[trial_id]
        clip = self.study.clips[trial.clip]
        return {
            "instrument": clip.instrument,
            "input": clip.input,
            "a": clip.sounds[trial.a],
            "b": clip.sounds[trial.b],
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """{"participant", "trial", "choice"} -> the state after it. An answer given before stays as it is."""
        person, trial, choice = (request.get(key) for key in ("participant", "trial", "choice"))
        number = self.store.answers.participants.get(person) if isinstance(person, str) else None
        if number is None or not isinstance(person, str):
            raise Refused("unknown participant")
        if not isinstance(trial, str) or trial not in {each.id for each in self.study.lists[number]}:
            raise Refused("unknown trial")
        if not isinstance(choice, str) or choice not in PREFERRED:
            raise Refused(f"a choice is one of {', '.join(PREFERRED)}")
        with self._lock:
            if (person, trial) not in self.store.answers.given:
                self.store.append({"participant": person, "trial": trial, "choice": choice})
        return self.state(person)
