"""Outputs of a command: refused early when they cannot be, complete or absent afterwards."""

import os
import secrets
from pathlib import Path


def check_targets(targets: dict[str, Path | None], source: Path | None = None) -> None:
    """Refuses files that cannot be written, that are given twice, or that would overwrite the input.

    ``targets``: option name -> path or None. Raises ValueError or PermissionError with one sentence.
    """
    taken: dict[Path, str] = {}
    for option, path in targets.items():
        if path is None:
            continue
        check_target(path)
        real = Path(os.path.realpath(path))
        if source is not None and real == Path(os.path.realpath(source)):
            raise ValueError(f"{option} {path} is the input itself; give it another name")
        if real in taken:
            raise ValueError(f"{option} and {taken[real]} are the same file {path}; name two")
        taken[real] = option


def check_target(path: Path) -> None:
    folder = Path(os.path.realpath(path)).parent
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give a file name")
    if not folder.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {path.parent}, create it first")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"cannot write {path}: the folder {path.parent} is not writable")


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under another name and renames it: it appears complete or not at all."""
    target = Path(os.path.realpath(path))
    part = target.parent / f".bandmate-{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        part.write_bytes(content)
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
