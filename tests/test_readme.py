"""What the README and the pages in docs/ tell people must exist: links, files, commands, flags and values, imports."""

import ast
import contextlib
import importlib
import importlib.util
import io
import re
import shlex
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import tyro

from bandmate import cli

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = sorted([README, *ROOT.glob("docs/*.md"), ROOT / "CHANGELOG.md"])
SHELL, PYTHON = {"sh", "bash", "console", "shell"}, {"python", "py"}
STARTS = "bandmate|make|python|torchrun"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(text: str, languages: set[str]) -> list[str]:
    """The fenced code blocks of these languages."""
    fenced = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [code for language, code in fenced if language in languages]


def commands(text: str) -> list[list[str]]:
    """Each command of the blocks to be typed as words: continued lines joined, prompts and comments removed.

    In blocks of no language, fenced or indented, the lines that begin like a command and whatever continues them.
    """
    typed = "\n".join(blocks(text, SHELL))
    indented = re.findall(
        r"^ {4}(.*)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    shown = "\n".join([*blocks(text, {""}), *indented]).replace("\\\n", " ")
    typed += "\n" + "\n".join(re.findall(rf"^ *((?:{STARTS}) .*)$", shown, re.MULTILINE))
    lines = typed.replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in re.split(r"&&|[|;]", line.removeprefix("$ "))]
    return [shlex.split(part, comments=True) for part in parts]


def mentioned(text: str) -> list[list[str]]:
    """Commands within a sentence or a table, `like this`: often without all that they need."""
    return [words.split() for words in re.findall(r"`(bandmate [^`]+)`", text)]


def broken_links(page: Path) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", prose)
    local = [
        link.split("#")[0] for link in links if "://" not in link and not link.startswith(("#", "mailto:"))
    ]
    return [link for link in local if not (page.parent / link).exists()]


@lru_cache
def programs() -> list[Path]:
    """What the tree holds, without environments and builds beside it."""
    folders = ("bandmate", "benchmarks", "docs", "runs", "scripts", "tests")
    return [
        path for folder in folders for path in (ROOT / folder).rglob("*.*") if path.suffix in (".py", ".sh")
    ]


def missing_files(text: str) -> list[str]:
    """Programs in `quotes` that lie nowhere in the tree; `*` stands for anything."""
    named = re.findall(r"`([\w/*-]+\.(?:py|sh))`", text)
    return [name for name in named if not any(path.match(name) for path in programs())]


def wrong_commands(text: str, targets: set[str]) -> list[str]:
    """Command lines with a make target, a program, a verb, a flag or a value that does not exist."""
    wrong = []
    for words in filter(None, commands(text)):
        program, *rest = [word for word in words if not re.match(r"[A-Z_]+=", word)] or [""]
        if program == "make":
            named = [word for word in rest if not word.startswith("-") and "=" not in word]
            wrong += [f"make {target}" for target in named if target not in targets]
        elif Path(program).name in ("python", "torchrun"):
            wrong += wrong_program(rest)
        elif Path(program).name == "bandmate" and rest and not rest[0].startswith("-"):
            wrong += wrong_line(rest)
    for _, verb, *rest in mentioned(text):
        wrong += [] if verb.startswith("-") else wrong_flags(verb, rest)
    return wrong


def wrong_program(words: list[str]) -> list[str]:
    """`python -m module ...`, `python file ...`, `torchrun ... -m module ...`."""
    if "-m" not in words:
        return [] if (ROOT / words[0]).is_file() else [f"python {words[0]}"]
    module, *rest = words[words.index("-m") + 1 :]
    if importlib.util.find_spec(module) is None:
        return [f"python -m {module}"]
    return wrong_line(rest) if module == "bandmate.cli" else []


class Understood(BaseException):
    """Raised in place of doing what a command line asks for."""


def understood(*arguments: Any, **options: Any) -> None:
    raise Understood(PARSE(*arguments, **options))


PARSE = tyro.cli


def wrong_line(words: list[str]) -> list[str]:
    """What the command line itself says to these words, short of doing anything; words after an ellipsis are unknown."""
    if "..." in words:
        return wrong_flags(words[0], words[1:])
    complaint = io.StringIO()
    with mock.patch("tyro.cli", understood), contextlib.redirect_stderr(complaint):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Understood, SystemExit):
            if cli.main(words) != cli.DONE:
                return [f"bandmate {shlex.join(words)}: {complaint.getvalue().strip()}"]
    return []


def wrong_flags(verb: str, words: list[str]) -> list[str]:
    if verb not in cli.VERBS:
        return [f"bandmate {verb}"]
    action = next((word for word in words[:1] if re.fullmatch(r"[a-z]+", word)), None)
    known = set(re.findall(r"--?[a-zA-Z][\w-]*", help_of(verb, action)))
    if not known:
        return [f"bandmate {verb} {action}"]
    flags = [word.split("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    return [f"bandmate {verb} {flag}" for flag in flags if flag not in known]


@lru_cache
def help_of(verb: str, action: str | None) -> str:
    """Nothing for an action that does not exist."""
    said = io.StringIO()
    words = [verb, action, "--help"] if action else [verb, "--help"]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        with contextlib.suppress(SystemExit):
            cli.main(words)
    return said.getvalue()


def make_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z]+):", text, flags=re.MULTILINE))


def missing_names(code: str) -> list[str]:
    """Names that the code imports from bandmate and that do not exist."""
    missing = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bandmate"):
            module = importlib.import_module(str(node.module))
            missing += [f"{node.module}.{name.name}" for name in node.names if not hasattr(module, name.name)]
    return missing


def test_the_readme_has_what_a_newcomer_needs() -> None:
    title, _, rest = text_of(README).partition("\n")
    assert re.fullmatch(r"# \S.*", title)
    first = rest.strip().split("\n\n")[0]
    assert first.endswith("."), "one sentence comes first"
    typed = {tuple(words[:2]) for words in commands(text_of(README))}
    assert {("make", "demo"), ("make", "test")} <= typed
    assert re.search(r"!\[[^]]+\]\([^)]+\)", rest), "a picture with a text for those who cannot see it"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_are_where_they_are_said_to_be(page: Path) -> None:
    assert missing_files(text_of(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_flags_exist(page: Path) -> None:
    assert wrong_commands(text_of(page), make_targets()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_import_what_exists(page: Path) -> None:
    for code in blocks(text_of(page), PYTHON):
        assert missing_names(code) == []


def test_a_wrong_page_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "[gone](gone.md) [here](page.md#part) [web](https://example.org)\n\n"
        "```sh\n$ make demo\nmake test && make nonsense  # comment\n"
        "bandmate stream in.wav \\\n    -o out.wav --no-such-flag 3\n"
        "bandmate dance\n```\n\n```\nbandmate train lm --out run --preset\n"
        "torchrun -n 2 -m bandmate.cli train duet --out run\npython -m bandmate.gone\nmade of words\n```\n\n"
        "    python gone.py --data x\n\n"
        "`bandmate study bake` `bandmate sweep run --grit small` `gone.sh` `bandmate models list`\n\n"
        "```python\nfrom bandmate.spec import StreamSpec, Nothing\n```\n"
    )
    text = text_of(page)
    assert broken_links(page) == ["gone.md"]
    assert missing_files(text) == ["gone.sh"]
    found = wrong_commands(text, {"demo", "test"})
    expected = [
        "make nonsense",
        "bandmate stream in.wav -o out.wav --no-such-flag 3: bandmate stream: Unrecognized options: --no-such-flag",
        "bandmate dance: bandmate: unknown command 'dance'",
        "bandmate train lm --out run --preset: bandmate train: Missing value",
        "bandmate train duet --out run: bandmate train: ",
        "python -m bandmate.gone",
        "python gone.py",
        "bandmate study bake",
        "bandmate sweep --grit",
    ]
    assert len(found) == len(expected), found
    assert all(line.startswith(start) for line, start in zip(found, expected)), found
    assert missing_names(blocks(text, PYTHON)[0]) == ["bandmate.spec.Nothing"]
