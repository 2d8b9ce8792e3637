"""What devices say about themselves, and where on the plane that allows to play."""

import math

import pytest

from bandmate.spec import StreamSpec
from bandmate.stream.devices import DeviceFacts, DeviceInfo, believable, find_device
from bandmate.stream.placing import Measured
from bandmate.stream.scheduler import Geometry, Schedule

DEVICES = [
    DeviceInfo("HDA Intel PCH: ALC257", "ALSA", 2, 2, 44_100.0),
    DeviceInfo("Scarlett 2i2 USB", "ALSA", 2, 2, 48_000.0),
    DeviceInfo("Scarlett 2i2 USB", "JACK", 2, 2, 48_000.0),
    DeviceInfo("HDMI", "ALSA", 0, 8, 48_000.0),
    DeviceInfo("pulse", "ALSA", 32, 32, 44_100.0),
]


@pytest.mark.parametrize(("name", "index"), [("pulse", 4), ("PULSE", 4), ("scarlett 2i2 usb", 1), ("alc", 0)])
def test_a_device_is_found_by_its_name_or_a_part_of_it(name: str, index: int) -> None:
    assert find_device(DEVICES, name, "inputs") == index


@pytest.mark.parametrize(
    ("name", "wants", "says"),
    [
        ("HDMI", "inputs", "there is no device 'HDMI' with inputs; bandmate jam --devices lists them"),
        ("pulsee", "outputs", "did you mean 'pulse'?"),
        ("scarlett", "inputs", "may be any of 'Scarlett 2i2 USB', 'Scarlett 2i2 USB': give more of the name"),
    ],
)
def test_a_name_that_is_none_is_refused(name: str, wants: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"^") as refused:
        find_device(DEVICES, name, wants)
    assert says in str(refused.value)


@pytest.mark.parametrize("reported", [89_478.485, math.nan, math.inf, -0.01])
def test_nonsense_of_a_driver_is_not_believed(reported: float) -> None:
    seconds, doubts = believable(reported, 0.02, "input")
    assert seconds == 0.02
    assert len(doubts) == 1
    assert "for the input; taken as 0.020 s" in doubts[0]
    assert believable(0.0, 0.02, "input") == (0.0, [])


def measured(rate: int = 32_000, lead: int = 640, step: float = 0.04, gap: float = 0.0) -> Measured:
    facts = DeviceFacts("in", "out", rate, 320, 1, 2, 0.0, 0.0)
    return Measured(facts, lead, (step,) * 20, gap, 32_000)


def test_the_largest_t_f_that_can_be_held() -> None:
    """20 ms through the device, 10 ms a block, 60 + 15 ms, 40 ms a step and half of it: 165 ms, so 9 frames."""
    spec = measured().best(StreamSpec(-20, 5))
    assert (spec.t_f, spec.k) == (-9, 5)
    assert measured().plan(Schedule(spec, Geometry())).shift == 0.0
    assert measured().plan(Schedule(StreamSpec(-8, 5), Geometry())).shift == pytest.approx(0.005)


def test_what_costs_more_needs_more_of_t_f() -> None:
    best = measured().best(StreamSpec(-20, 5)).t_f
    for other in (measured(rate=48_000), measured(lead=6400), measured(step=0.08), measured(gap=0.05)):
        assert other.best(StreamSpec(-20, 5)).t_f < best
    assert measured(step=9.0).best(StreamSpec(-20, 5)).t_f == -200
    assert measured(gap=1e9).best(StreamSpec(-20, 5)).t_f == measured(gap=0.11).best(StreamSpec(-20, 5)).t_f


def test_one_slow_step_moves_t_f_but_does_not_say_that_it_cannot_keep_up() -> None:
    slow = Measured(measured().facts, 0, (0.04,) * 19 + (0.4,), 0.0, 32_000)
    plan = slow.plan(Schedule(StreamSpec(-20, 5), Geometry()))
    assert plan.keeps_up
    assert plan.shift > 0
    assert not measured(step=0.11).plan(Schedule(StreamSpec(-50, 5), Geometry())).keeps_up
