"""Sizes that keep the code readable: no source file above 500 lines, no function above 80."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("bandmate", "benchmarks", "docs", "runs")
MAX_FILE, MAX_FUNCTION = 500, 80  # lines


def too_long(root: Path) -> list[str]:
    """One line for each file or function below root/<folder> that is longer than it may be."""
    problems = []
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root)
        if (lines := len(text.splitlines())) > MAX_FILE:
            problems.append(f"{name}: {lines} lines, at most {MAX_FILE}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION:
                    problems.append(
                        f"{name}:{node.lineno} {node.name}: {length} lines, at most {MAX_FUNCTION}"
                    )
    return problems


def test_nothing_is_too_long() -> None:
    problems = too_long(ROOT)
    assert not problems, "\n".join(problems)


def test_what_is_too_long_is_found(tmp_path: Path) -> None:
    body = "    pass\n"
    (tmp_path / "bandmate").mkdir()
    (tmp_path / "bandmate" / "fits.py").write_text("def f():\n" + body * 79 + "x = 1\n" * 420)
    (tmp_path / "bandmate" / "long.py").write_text("def f():\n" + body * 80 + "x = 1\n" * 420)
    assert [line.split(":")[0] for line in too_long(tmp_path)] == ["bandmate/long.py"] * 2
