"""What is said of the machine."""

from pathlib import Path

import pytest

from bandmate.stream import host

ABOUT = {"processor": "Abacus 2", "cores": 4, "threads": 1, "load_average": 0.5}


def test_the_processor_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Abacus 2\nmodel name\t: Abacus 2\n")
    assert host.processor(tmp_path / "cpuinfo") == "Abacus 2"
    assert host.processor(tmp_path / "none") != ""


def test_a_busy_machine_is_told() -> None:
    assert host.in_words(ABOUT, 0.99) == "Abacus 2, 4 cores, 1 thread, load average 0.5 before"
    assert "busy: the work had a processor 30 % of its time" in host.in_words(ABOUT, 0.3)
    assert host.in_words(ABOUT | {"threads": 2, "load_average": None}, 1.6) == "Abacus 2, 4 cores, 2 threads"


def test_memory_is_measured_in_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 10 < host.memory() < 100_000
    assert host.peak_memory() < 100_000
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(OSError()))
    assert host.memory() == pytest.approx(host.peak_memory(), rel=0.01)


def test_a_system_that_tells_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def untold() -> None:
        raise OSError

    monkeypatch.setattr("os.getloadavg", untold)
    assert host.describe()["load_average"] is None
