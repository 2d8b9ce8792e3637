"""What the README and the pages in docs/ tell people to type must exist: links, commands, flags, imports."""

import ast
import importlib
import re
import shlex
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest

from bandmate.cli import VERBS

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = sorted([README, *ROOT.glob("docs/*.md"), ROOT / "CHANGELOG.md"])
SHELL, PYTHON = {"sh", "bash", "console", "shell"}, {"python", "py"}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(text: str, languages: set[str]) -> list[str]:
    """The fenced code blocks of these languages."""
    fenced = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [code for language, code in fenced if language in languages]


def commands(text: str) -> list[list[str]]:
    """Each command of the shell blocks as words: continued lines joined, prompts and comments removed."""
    lines = "\n".join(blocks(text, SHELL)).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in re.split(r"&&|[|;]", line.removeprefix("$ "))]
    return [shlex.split(part, comments=True) for part in parts]


def broken_links(page: Path) -> list[str]:
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", prose)
    local = [
        link.split("#")[0] for link in links if "://" not in link and not link.startswith(("#", "mailto:"))
    ]
    return [link for link in local if not (page.parent / link).exists()]


def wrong_commands(text: str, targets: set[str]) -> list[str]:
    """Command lines with a make target, a verb or a flag that does not exist."""
    wrong = []
    for words in filter(None, commands(text)):
        program, *rest = [word for word in words if "=" not in word or word.startswith("-")] or [""]
        if program == "make":
            named = [word for word in rest if not word.startswith("-")]
            wrong += [f"make {target}" for target in named if target not in targets]
        if Path(program).name == "bandmate" and rest and not rest[0].startswith("-"):
            wrong += wrong_flags(rest[0], rest[1:])
    return wrong


def wrong_flags(verb: str, words: list[str]) -> list[str]:
    if verb not in VERBS:
        return [f"bandmate {verb}"]
    flags = [word.split("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    known = set(re.findall(r"--?[a-zA-Z][\w-]*", help_of(verb)))
    return [f"bandmate {verb} {flag}" for flag in flags if flag not in known]


@lru_cache
def help_of(verb: str) -> str:
    code = "import sys; from bandmate.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, verb, "--help"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


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
        "bandmate dance\n```\n\n```python\nfrom bandmate.spec import StreamSpec, Nothing\n```\n"
    )
    text = text_of(page)
    assert broken_links(page) == ["gone.md"]
    assert wrong_commands(text, {"demo", "test"}) == [
        "make nonsense",
        "bandmate stream --no-such-flag",
        "bandmate dance",
    ]
    assert missing_names(blocks(text, PYTHON)[0]) == ["bandmate.spec.Nothing"]
