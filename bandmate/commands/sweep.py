"""``bandmate sweep``: the (t_f, k) plane of a model or of many, its figures, and what else is tried over and over."""

import importlib

from bandmate.commands.parsing import parse

# action -> (what it does, module). The module has Arguments and run(arguments).
ACTIONS = {
    "run": ("generate and measure at every point of a grid", "bandmate.commands.sweeping.run"),
    "figures": ("the paper's Figures 1-7, and what a machine can hold", "bandmate.commands.sweeping.figures"),
    "page": ("a page of audio examples", "bandmate.commands.sweeping.page"),
    "decoding": (
        "search guidance, temperature and top-k on validation",
        "bandmate.commands.sweeping.decoding",
    ),
    "longplay": ("sessions of half an hour: level, loops, drift", "bandmate.commands.sweeping.longplay"),
}

USAGE = """usage: bandmate sweep ACTION [options]

{actions}

bandmate sweep run --help tells more, and so on.

example:
  bandmate sweep run --grid small --rendered rendered --out sweep --clips 64"""


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        actions = "\n".join(f"  {name:<9} {what}" for name, (what, _) in ACTIONS.items())
        print(USAGE.format(actions=actions))
        return 0
    if argv[0] not in ACTIONS:
        raise ValueError(f"unknown action {argv[0]!r}: give {', '.join(ACTIONS)}")
    module = importlib.import_module(ACTIONS[argv[0]][1])
    module.run(parse(module.Arguments, argv[1:], f"bandmate sweep {argv[0]}"))
    return 0
