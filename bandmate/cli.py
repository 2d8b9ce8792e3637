"""``bandmate <verb> ...``: finds the verb's module, runs it, and turns errors into one line and an exit code.

Exit codes: 0 done; 2 bad use or input; 1 the environment (disk full, device lost); 130 interrupted.
Nothing heavy is imported here, nor by ``--help``.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence

# verb -> (what it does, "module:function"). The function takes what follows the verb, returns the exit code.
VERBS: dict[str, tuple[str, str]] = {
    "stream": ("play a file through the engine as if live", "bandmate.commands.stream:main"),
    "jam": ("play along live, on a sound device", "bandmate.commands.jam:main"),
    "plan": (
        "measure which (t_f, k) this machine and its sound card hold, and advise one",
        "bandmate.commands.plan:main",
    ),
    "bench": ("time a step against the speed of this machine's memory", "bandmate.commands.bench:main"),
    "prepare": (
        "MIDI songs to rendered stems; those, or a data set of stems, to the store that models train on",
        "bandmate.commands.prepare:main",
    ),
    "train": ("train a codec or a model, or bundle the two", "bandmate.commands.train:main"),
    "generate": ("play along with clips of unseen songs, many at a time", "bandmate.commands.generate:main"),
    "evaluate": ("measure a model on unseen songs", "bandmate.commands.evaluate:main"),
    "study": ("listening pages, their answers, their statistics", "bandmate.commands.study:main"),
    "sweep": ("measure a grid of (t_f, k); its figures, its page", "bandmate.commands.sweep:main"),
    "models": ("list the models, fetch published weights", "bandmate.commands.models:main"),
}

USER_ERRORS = (ValueError, FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
DONE, ENVIRONMENT, MISUSE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line (default: the program's own) and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return DONE
    if arguments[0] in ("-V", "--version"):
        from bandmate import __version__

        print(f"bandmate {__version__}")
        return DONE
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        return complain("bandmate", unknown_verb(verb), MISUSE)
    return run(verb, rest)


def run(verb: str, arguments: list[str]) -> int:
    """One verb, its errors told in one line. BANDMATE_TRACEBACK=1 shows where they come from instead."""
    if os.environ.get("BANDMATE_TRACEBACK"):
        return load(verb)(arguments) or DONE
    try:
        return load(verb)(arguments) or DONE
    except KeyboardInterrupt:
        return complain(f"bandmate {verb}", "interrupted", INTERRUPTED)
    except USER_ERRORS as error:
        return complain(f"bandmate {verb}", sentence(error), MISUSE)
    except (OSError, MemoryError) as error:
        return complain(f"bandmate {verb}", sentence(error), ENVIRONMENT)


def load(verb: str) -> Callable[[list[str]], int | None]:
    """The function behind a verb, imported now."""
    module, _, function = VERBS[verb][1].partition(":")
    return getattr(importlib.import_module(module), function)


def complain(who: str, what: str, code: int) -> int:
    print(f"{who}: {what}", file=sys.stderr)
    return code


def sentence(error: BaseException) -> str:
    """An error's message on one line; the system's own errors without their number."""
    if isinstance(error, OSError) and error.strerror:
        name = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{name}"
    return " ".join(str(error).split()) or type(error).__name__


def unknown_verb(verb: str) -> str:
    near = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "see bandmate --help"
    return f"unknown command {verb!r}; {hint}"


def usage() -> str:
    verbs = "\n".join(f"  {verb:<10} {what}" for verb, (what, _) in VERBS.items())
    return (
        "usage: bandmate <command> [options]\n\n"
        "Listens to music and plays along.\n\n"
        f"commands:\n{verbs}\n\n"
        "options:\n  --version  print the version\n"
        "  --help     print this; bandmate <command> --help tells more\n\n"
        "example:\n  bandmate stream song.wav -o bass.wav --instrument Bass --mix both.wav"
    )


if __name__ == "__main__":
    sys.exit(main())
