"""Bytes that a step reads, counted on networks of which they are known; bandwidth by a clock of our own."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from bandmate.checkpoint import load_bundle
from bandmate.model.sampling import Sampler
from bandmate.spec import StreamSpec
from bandmate.stream import bandwidth
from bandmate.stream.bandwidth import Traffic, bytes_per_step, tensors_in, weights_of
from bandmate.stream.engine import Engine
from bandmate.stream.measure import Probe, Watched, window_of
from tests.stream.fakes import music
from tests.stream.ticking import Ticker


def counted(network: Any, call: Any, *arguments: Any) -> Traffic:
    traffic = Traffic(weights_of(network))
    with torch.inference_mode():
        traffic.run("play", call, *arguments)
    return traffic


def test_a_matrix_counts_each_time_it_is_multiplied() -> None:
    layer = nn.Linear(32, 16, bias=False)

    def twice(x: torch.Tensor) -> torch.Tensor:
        return layer(x) + (layer.weight @ x.t()).t()

    traffic = counted(layer, twice, torch.randn(3, 32))
    assert traffic.weight_bytes["play"] == 2 * 16 * 32 * 4
    assert traffic.weight_bytes["listen"] == 0


def test_a_lookup_counts_the_rows_it_takes() -> None:
    table = nn.Embedding(1000, 8)
    assert (
        counted(table, table, torch.tensor([1, 2, 3])).total == 3 * 8 * 4 + 3 * 8
    )  # rows, and their numbers


def test_a_cache_counts_where_it_is_read_not_where_it_is_viewed_or_written() -> None:
    cache = torch.zeros(4, 100, 8)

    def step(cache: torch.Tensor) -> torch.Tensor:
        cache[:, 3] = 1.0
        return cache[1:].transpose(1, 2).sum()

    assert counted(None, step, cache).state_bytes["play"] == 3 * 100 * 8 * 4


def test_tensors_are_found_in_states() -> None:
    @dataclasses.dataclass
    class State:
        one: torch.Tensor
        more: tuple[Any, ...]

    one, two, three = (torch.zeros(n) for n in (1, 2, 3))
    found = list(tensors_in((State(one, (two, "x", None)), {"a": [three]}, 5)))
    assert [len(tensor) for tensor in found] == [1, 2, 3]


def test_the_bundled_model_reads_each_of_its_weights_once_a_column() -> None:
    bundle, spec = load_bundle("duet-small"), StreamSpec(-20, 2)

    def build(run: Any) -> Engine:
        return Engine(Watched(bundle.codec, run), Watched(bundle.model, run), spec, Sampler(guidance=2.0), 4)

    probe = Probe(build, spec, music(1.0), Ticker().clocks())
    probe.warm(0)
    counts = bytes_per_step(probe, weights_of(bundle.codec, bundle.model))
    played = sum(weight.nbytes for weight in bundle.model.played.parameters())
    assert 2 * played <= counts.weight_bytes["play"] < 3 * played  # and of the heads
    config = bundle.model.config
    ring, width = config.window + 32, config.kv_heads * config.width // config.heads
    hearing, deaf = config.sinks + 2 * ring, config.sinks + ring
    caches = 2 * config.layers * 2 * (hearing + deaf) * width * 4  # two columns, keys and values, float32
    assert caches <= counts.state_bytes["play"] < 1.1 * caches
    assert window_of(bundle.model) == config.window
    assert not probe.times.steps, "the call that is counted is not timed"


def test_bandwidth_is_bytes_over_time() -> None:
    instants = iter(float(n) for n in range(1000))
    speed = bandwidth.bandwidth(1 << 10, clock=lambda: next(instants), large=1 << 16, rounds=2)
    assert speed.read == 1 << 16  # two vectors of half of it, in one second
    assert speed.copy == 1 << 16
    assert speed.resident == 4 * (1 << 10)
    assert speed.resident_bytes == 1 << 10


def test_only_the_quickest_round_counts() -> None:
    instants = iter([0.0, 5.0, 5.0, 7.0, 7.0, 10.0])
    assert bandwidth.fastest(lambda: None, lambda: next(instants), rounds=3) == pytest.approx(2.0)
