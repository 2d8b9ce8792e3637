"""The import arrows of docs/design.md, held by reading every import in the package, inside functions too."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What each part of the package may import from the others. A part: a module or folder right below bandmate/.
_MODEL_SIDE = {"spec", "instruments", "audio", "nn", "codec", "model", "checkpoint"}
_TRAIN = _MODEL_SIDE | {"data", "perceive", "configs", "generate"}
ARROWS: dict[str, set[str]] = {
    "spec": set(),
    "instruments": set(),
    "weights": set(),
    "audio": set(),
    "nn": set(),
    "data": {"spec", "instruments", "audio"},
    "codec": {"nn"},
    "model": {"spec", "instruments", "nn"},
    "perceive": {"audio", "nn", "weights"},
    "configs": {"spec", "nn", "codec", "model", "perceive"},
    "checkpoint": {"configs", "codec", "model", "perceive", "weights"},
    "generate": {"spec", "instruments", "audio", "data", "codec", "model", "checkpoint"},
    "train": _TRAIN,
    "stream": _MODEL_SIDE,
    "evaluate": {"audio", "perceive", "spec", "weights", "checkpoint"},
    "sweep": _TRAIN | {"weights", "train", "evaluate"},
}
EVERYTHING = set(ARROWS) | {"commands"}
ARROWS |= {"commands": EVERYTHING, "cli": EVERYTHING, "__main__": {"cli"}, "__init__": set()}
LAZY = {"cli"}  # imports the package inside functions only, so that `--help` is quick

# Third parties with a place of their own. An empty set: nowhere at all.
HOMES: dict[str, set[str]] = {
    "torchaudio": set(),
    "torchvision": set(),
    "torchcodec": set(),
    "lightning": {"train"},
    "pytorch_lightning": set(),
}


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def modules_of(root: Path) -> dict[str, Path]:
    """Dotted name → file, for every Python file of the package folder at root/bandmate."""
    return {module_name(path, root): path for path in sorted((root / "bandmate").rglob("*.py"))}


def part_of(module: str) -> str:
    """The part that a dotted name belongs to: "bandmate.audio.io" → "audio", the package → "__init__"."""
    names = module.split(".")
    return names[1] if len(names) > 1 else "__init__"


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    names = module.split(".")
    base = names[: len(names) - node.level + is_package]
    return ".".join(base + ([node.module] if node.module else []))


def _by_string(node: ast.Call) -> str | None:
    """import_module("name") and __import__("name") are imports, too."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    argument = node.args[0] if node.args else None
    if name in {"import_module", "__import__"} and isinstance(argument, ast.Constant):
        return str(argument.value)
    return None


def imports(tree: ast.AST, module: str, is_package: bool, known: set[str]) -> Iterator[tuple[str, int]]:
    """Yield (imported module, line); `from package import module` counts as the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (full if full in known else base), node.lineno
        elif isinstance(node, ast.Call) and (name := _by_string(node)):
            yield name, node.lineno


def _at_import_time(tree: ast.Module) -> ast.Module:
    """The tree without the bodies of its functions: what runs when the module is imported."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
            return None

    return Strip().visit(tree)


def _complaint(module: str, target: str) -> str | None:
    """Why `module` must not import `target`, or None."""
    part = part_of(module)
    top = target.split(".")[0]
    if top in HOMES and part not in HOMES[top]:
        return f"{top} may be imported in {sorted(HOMES[top]) or 'no part'} only"
    if top == "bandmate":
        other = part_of(target)
        if other in (part, "__init__") or other in ARROWS.get(part, set()):
            return None
        return f"no arrow {part} → {other}"
    if part == "spec" and top not in sys.stdlib_module_names:
        return "spec uses the standard library only"
    return None


def arrow_problems(root: Path) -> list[str]:
    """One line for each import that breaks a rule, and for each module that has none."""
    modules = modules_of(root)
    problems = [f"{name}: no rule for '{part_of(name)}'" for name in modules if part_of(name) not in ARROWS]
    for module, path in modules.items():
        is_package = path.name == "__init__.py"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for target, line in imports(tree, module, is_package, set(modules)):
            if complaint := _complaint(module, target):
                problems.append(f"{module}:{line} imports {target}: {complaint}")
        if part_of(module) in LAZY:
            early = imports(_at_import_time(tree), module, is_package, set(modules))
            problems += [
                f"{module}:{line} imports {target} outside a function"
                for target, line in early
                if target.startswith("bandmate.")
            ]
    return problems


def cycle(root: Path) -> list[str] | None:
    """The modules of one import cycle, or None."""
    modules = modules_of(root)
    graph = {
        module: {
            target
            for target, _ in imports(
                ast.parse(path.read_text(encoding="utf-8")), module, path.name == "__init__.py", set(modules)
            )
            if target in modules and target != module
        }
        for module, path in modules.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return None


def test_every_import_follows_an_arrow() -> None:
    assert modules_of(ROOT), "no package found"
    problems = arrow_problems(ROOT)
    assert not problems, "\n".join(problems)


def test_no_cycle() -> None:
    found = cycle(ROOT)
    assert found is None, " → ".join(found or [])


def test_the_table_itself_has_no_cycle() -> None:
    tuple(graphlib.TopologicalSorter({part: ARROWS[part] - {part} for part in ARROWS}).static_order())


def test_train_stream_and_evaluate_never_meet() -> None:
    meeting = {"train", "stream", "evaluate"}
    assert all(not ARROWS[part] & (meeting - {part}) for part in meeting)


def test_banned_packages_are_imported_nowhere() -> None:
    banned = {name for name, homes in HOMES.items() if not homes}
    folders = ("bandmate", "tests", "docs", "runs", "benchmarks", "scripts")
    found = [
        f"{path}:{line} {target}"
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for target, line in imports(ast.parse(path.read_text(encoding="utf-8")), "", False, set())
        if target.split(".")[0] in banned
    ]
    assert not found


def test_command_line_starts_without_torch() -> None:
    heavy = {"torch", "scipy", "matplotlib", "lightning"}
    code = f"import sys, bandmate.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# A made-up tree for each rule, to prove that the walk sees what it must.
OFFENCES = {
    "upward arrow": ({"nn/x.py": "import bandmate.model.y\n", "model/y.py": ""}, "no arrow nn → model"),
    "from the package": (
        {"model/y.py": "from bandmate import codec\n", "codec/__init__.py": ""},
        "model → codec",
    ),
    "inside a function": (
        {"data/x.py": "def f():\n    from bandmate.codec.c import g\n", "codec/c.py": ""},
        "data → codec",
    ),
    "relative": ({"nn/x.py": "from ..model import y\n", "model/y.py": ""}, "nn → model"),
    "relative in __init__": ({"nn/__init__.py": "from ..model.y import z\n", "model/y.py": ""}, "nn → model"),
    "by string": (
        {
            "evaluate/x.py": "import importlib\nimportlib.import_module('bandmate.train.t')\n",
            "train/t.py": "",
        },
        "evaluate → train",
    ),
    "unknown part": ({"misc.py": ""}, "no rule for 'misc'"),
    "unknown target": ({"nn/x.py": "import bandmate.gone\n"}, "nn → gone"),
    "lightning": ({"model/x.py": "import lightning as L\n"}, "lightning may be imported"),
    "torchaudio": ({"train/x.py": "from torchaudio import load\n"}, "torchaudio may be imported"),
    "spec not stdlib": ({"spec.py": "import numpy as np\n"}, "standard library only"),
    "cli not lazy": ({"cli.py": "from bandmate import spec\n", "spec.py": ""}, "outside a function"),
    "upward under TYPE_CHECKING": (
        {"nn/x.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import bandmate.model\n"},
        "nn → model",
    ),
}


def made_up(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"__init__.py": "", **files}.items():
        path = root / "bandmate" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("case", OFFENCES)
def test_an_offence_is_found(tmp_path: Path, case: str) -> None:
    files, expected = OFFENCES[case]
    problems = arrow_problems(made_up(tmp_path, files))
    assert len(problems) == 1, problems
    assert expected in problems[0]


def test_a_clean_tree_passes(tmp_path: Path) -> None:
    files = {
        "cli.py": "def main():\n    from bandmate.stream import engine\n",
        "stream/engine.py": "from bandmate.spec import StreamSpec\nfrom bandmate.stream.other import x\n",
        "stream/other.py": "import numpy\n",
        "spec.py": "import math\n",
        "train/lm.py": "import lightning\n",
    }
    root = made_up(tmp_path, files)
    assert arrow_problems(root) == []
    assert cycle(root) is None


def test_a_cycle_within_one_part_is_found(tmp_path: Path) -> None:
    files = {
        "nn/a.py": "import bandmate.nn.b\n",
        "nn/b.py": "def f():\n    from .c import g\n",
        "nn/c.py": "from . import a\n",
    }
    root = made_up(tmp_path, files)
    assert arrow_problems(root) == []
    found = cycle(root)
    assert found is not None
    assert set(found) == {"bandmate.nn.a", "bandmate.nn.b", "bandmate.nn.c"}
