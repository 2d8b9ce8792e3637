"""Answers to tables: what ``bandmate study analyse`` tells, as data, Markdown, CSV and Table 1 of the paper."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from bandmate.evaluate.study import Judged, analyse
from bandmate.sweep.listening_study.answers import Answers
from bandmate.sweep.listening_study.study import Study
from bandmate.sweep.tables import number, plain, table

SIGNIFICANT, NOT = "*", "!"  # the marks of the paper's Table 1

PAPER_SYSTEMS = (
    "Ground Truth", "Offline StemGen", "Offline Prefix Decoder", "t_f = 1", "t_f = 0", "t_f = -1", "Random Pairing",
)  # fmt: skip
PAPER_TABLE = (  # arXiv 2510.22105, Table 1: 24 participants
    ("", "!", "*", "*", "*", "*", "*"),
    ("!", "", "!", "!", "!", "*", "*"),
    ("*", "!", "", "!", "!", "*", "!"),
    ("*", "!", "!", "", "!", "*", "!"),
    ("*", "!", "!", "!", "", "*", "!"),
    ("*", "*", "*", "*", "*", "", "!"),
    ("*", "*", "!", "!", "!", "!", ""),
)


def judged(study: Study, answers: Answers) -> list[Judged]:
    """The answers as (participant, system A, system B, choice), by participant and trial."""
    trials = study.trials()
    return [
        Judged(person, trials[trial].a, trials[trial].b, choice)
        for (person, trial), choice in sorted(answers.given.items())
    ]


def measure(study: Study, answers: Answers, seed: int = 0) -> dict[str, Any]:
    """The whole report. ValueError when there are too few answers to tell anything."""
    if not answers.given:
        raise ValueError("there are no answers yet: let somebody listen first")
    report = analyse(judged(study, answers), study.systems, seed)
    finished = sum(
        all((person, trial.id) in answers.given for trial in study.lists[number])
        for person, number in answers.participants.items()
    )
    store = {
        "began": len(answers.participants),
        "finished": finished,
        "damaged_lines": answers.damaged,
        "repeated": answers.repeated,
        "foreign": answers.foreign,
    }
    return {"study": study.id, "title": study.title, "store": store, **report, "notes": notes(store, report)}


def notes(store: Mapping[str, Any], report: Mapping[str, Any]) -> list[str]:
    """What a reader must know beside the numbers."""
    told = []
    if damaged := store["damaged_lines"]:
        told.append(
            f"Lines that cannot be read (cut off by a crash) and are left out: {', '.join(map(str, damaged))}."
        )
    if store["repeated"]:
        told.append(
            f"Answers to a trial that was answered before: {store['repeated']}; the first one counts."
        )
    if store["foreign"]:
        told.append(f"Left out, for the study has no such participant or trial: {store['foreign']} lines.")
    left = store["began"] - store["finished"]
    if left:
        told.append(f"{left} of {store['began']} who began did not finish; what they answered counts.")
    missing = sum(report["participants"] - row["participants"] for row in report["systems"])
    if missing:
        told.append(
            f"Win rates that do not exist, for the participant never heard the system: {missing}; left out."
        )
    if least_p(report) > report["level"]:
        told.append("Too few participants: whatever they answer, no pair can reach the level.")
    return told


def least_p(report: Mapping[str, Any]) -> float:
    """The smallest p-value that a signed-rank test of these participants can give."""
    return 2.0 ** (1 - max(pair["participants"] for pair in report["pairs"]))


def mark(pair: Mapping[str, Any]) -> str:
    return SIGNIFICANT if pair["significant"] else NOT


def significance(report: Mapping[str, Any]) -> list[list[str]]:
    """Table 1: [S][S] marks, "N/A" on the diagonal."""
    size = len(report["systems"])
    cells = [["N/A"] * size for _ in range(size)]
    for pair in report["pairs"]:
        cells[pair["a"]][pair["b"]] = cells[pair["b"]][pair["a"]] = mark(pair)
    return cells


def paper_mark(a: str, b: str) -> str | None:
    """What the paper's Table 1 says of two systems that are called as there."""
    places = {plain_name(name): index for index, name in enumerate(PAPER_SYSTEMS)}
    known = [places.get(plain_name(name)) for name in (a, b)]
    if known[0] is None or known[1] is None:
        return None
    return PAPER_TABLE[known[0]][known[1]]


def plain_name(name: str) -> str:
    return name.casefold().replace(" ", "").replace("_", "").replace("−", "-")


def markdown(report: Mapping[str, Any]) -> str:
    """All tables and how they came about."""
    systems = [row["system"] for row in report["systems"]]
    test = report["kruskal_wallis"]
    head = (
        f"{report['participants']} participants, {report['answers']} answers: A {report['chose_a']}, "
        f"B {report['chose_b']}, no preference {report['chose_none']}. "
        f"Kruskal-Wallis over the participants' win rates: H = {number(test['statistic'], 2)}, "
        f"{test['degrees']} degrees of freedom, p {equals(test['p'])}."
    )
    marks = significance(report)
    parts = [
        head,
        *(["\n".join(f"- {note}" for note in report["notes"])] if report["notes"] else []),
        "### Preference\n",
        table(preference_rows(report)),
        f"### Table 1: {SIGNIFICANT} significant, {NOT} not (p < 0.05 / {len(report['pairs'])})\n",
        table([["", *systems], *([name, *cells] for name, cells in zip(systems, marks, strict=True))]),
        "### Pairs: Wilcoxon signed-rank\n",
        table(pair_rows(report)),
        "Win rate: (wins + ties / 2) / trials, by participant; its mean over participants with the 95 % bootstrap "
        "interval. The tests compare participants' win rates; participants who met only one system of a pair are "
        "left out of it; pairs without a difference (zeros) are dropped, ties share their mean rank, p-values are exact.",
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def preference_rows(report: Mapping[str, Any]) -> list[list[str]]:
    head = ["", "win rate", "participants", "trials", "wins", "losses", "ties"]
    keys = ("participants", "trials", "wins", "losses", "ties")
    return [
        head,
        *(
            [row["system"], plain(row["win_rate"]), *(str(row[key]) for key in keys)]
            for row in report["systems"]
        ),
    ]


def pair_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """One line per pair; with the paper's mark where both systems are the paper's."""
    names = [row["system"] for row in report["systems"]]
    papers = [paper_mark(names[pair["a"]], names[pair["b"]]) for pair in report["pairs"]]
    shown = any(papers)
    head = ["", "wins : losses : ties", "difference", "W", "zeros", "p", f"p × {len(report['pairs'])}", ""]
    lines = [head + ["paper"] * shown]
    for pair, paper in zip(report["pairs"], papers, strict=True):
        a, b = pair["a"], pair["b"]
        cells = [
            f"{names[a]} – {names[b]}",
            f"{report['wins'][a][b]} : {report['wins'][b][a]} : {report['ties'][a][b]}",
            number(pair["difference"], 3, sign=True),
            f"{pair['statistic']:g}",
            str(pair["zeros"]),
            p_value(pair["p"]),
            p_value(pair["p_corrected"]),
            mark(pair),
        ]
        lines.append(cells + [paper or "–"] * shown)
    return lines


def p_value(p: float) -> str:
    return number(p, 4) if p >= 0.0001 else "< 0.0001"


def equals(p: float) -> str:
    return p_value(p) if p < 0.0001 else f"= {p_value(p)}"


def csv_text(report: Mapping[str, Any]) -> str:
    """One line per ordered pair of systems: counts, the test, and the marks."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = [
        "system",
        "other",
        "win_rate",
        "win_rate_low",
        "win_rate_high",
        "participants",
        "wins",
        "losses",
        "ties",
    ]
    writer.writerow([*head, "difference", "statistic", "zeros", "p", "p_corrected", "significant", "paper"])
    pairs = {frozenset((pair["a"], pair["b"])): pair for pair in report["pairs"]}
    rows: Sequence[Mapping[str, Any]] = report["systems"]
    for a, row in enumerate(rows):
        for b, other in enumerate(rows):
            if a == b:
                continue
            pair = pairs[frozenset((a, b))]
            sign = 1 if pair["a"] == a else -1
            rates = (f"{row['win_rate'][key]:.6g}" for key in ("mean", "low", "high"))
            counts = (report["wins"][a][b], report["wins"][b][a], report["ties"][a][b])
            test = (f"{sign * pair['difference']:.6g}", f"{pair['statistic']:g}", pair["zeros"])
            told = (f"{pair['p']:.6g}", f"{pair['p_corrected']:.6g}", int(pair["significant"]))
            paper = paper_mark(row["system"], other["system"]) or ""
            writer.writerow(
                [row["system"], other["system"], *rates, pair["participants"], *counts, *test, *told, paper]
            )
    return text.getvalue()
