"""The store prepared on Ray: two nodes on this machine, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bandmate.cli import main
from bandmate.data.parallel import on_cluster
from bandmate.data.prepare import claim
from tests.data.fake_coder import CONFIG, tracks, work
from tests.data.test_prepare import make_bundle

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys
from pathlib import Path
from ray.cluster_utils import Cluster
from bandmate.cli import main
from bandmate.data.parallel import on_cluster
from tests.data.fake_coder import FakeCoder, tracks, work

folder = Path(sys.argv[1])
small = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args=small | {"include_dashboard": False})
cluster.add_node(**small)
fake = work(folder / "fake", FakeCoder(pause=0.1, nodes=folder / "nodes"))
assert on_cluster(fake, tracks(folder / "data"), cluster.address, lambda *_: None) == {}
code = main(["prepare", "slakh", "--data", str(folder / "data"), "--codec", str(folder / "bundle"),
             "--out", str(folder / "cluster"), "--cluster", cluster.address])
cluster.shutdown()
sys.exit(code)
"""


def written(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


@pytest.mark.slow
def test_two_ray_nodes_write_the_bytes_of_one_process(tmp_path: Path) -> None:
    tracks(tmp_path / "data")
    make_bundle(tmp_path / "bundle")
    (tmp_path / "nodes").mkdir()
    claim(tmp_path / "fake", CONFIG)
    script = tmp_path / "cluster.py"
    script.write_text(SCRIPT)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_METRICS_COLLECTION": "1",
    }
    subprocess.run(
        [sys.executable, str(script), str(tmp_path)], cwd=ROOT, env=environment, check=True, timeout=600
    )
    assert len(list((tmp_path / "nodes").iterdir())) == 2
    common = [
        "prepare",
        "slakh",
        "--data",
        str(tmp_path / "data"),
        "--codec",
        str(tmp_path / "bundle"),
        "--workers",
        "1",
    ]
    assert main([*common, "--out", str(tmp_path / "alone")]) == 0
    assert written(tmp_path / "cluster") == written(tmp_path / "alone")
    assert len(list((tmp_path / "fake").glob("*.bin"))) == 6


def test_a_cluster_needs_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'bandmate\[cluster\]'"):
        on_cluster(work(tmp_path), [], "auto", lambda done, name: None)
