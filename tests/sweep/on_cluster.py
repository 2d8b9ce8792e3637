"""A tiny sweep over a local Ray cluster, in a process of its own: python -m tests.sweep.on_cluster RENDERED BUNDLE OUT."""

import dataclasses
import json
import sys
from pathlib import Path

import ray

from bandmate.sweep import plane
from bandmate.sweep.spread import Spread
from tests.sweep.test_grid import TWO, tiny_sweep


def main(rendered: Path, bundle: Path, out: Path) -> None:
    """Prints the rows, and what is said when the songs are not there."""
    points, sweep = plane.begin(TWO[:2], tiny_sweep(rendered, bundle, out))
    spread = Spread(workers=1, cluster="local")
    print(json.dumps(plane.run(sweep, points, spread)))
    try:
        plane.run(dataclasses.replace(sweep, out=out / "other", rendered=out / "nowhere"), points, spread)
    except FileNotFoundError as error:
        print(json.dumps(str(error)))
    ray.shutdown()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
