from typing import Any

import pytest
import torch

from bandmate.commands.precision import warn_of_slow_bfloat16
from bandmate.nn.precision import is_quick_in_bfloat16
from bandmate.train.loop import precision_on


def pretend(monkeypatch: pytest.MonkeyPatch, **capabilities: Any) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("capabilities", "quick"),
    [
        ({"avx2": True, "avx512_f": True}, False),
        ({"avx512_bf16": True}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({}, False),
    ],
)
def test_a_processor_is_quick_where_it_has_the_instructions(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], quick: bool
) -> None:
    pretend(monkeypatch, **capabilities)
    assert is_quick_in_bfloat16("cpu") is quick
    assert (
        precision_on("auto", "auto") == precision_on("auto", "cpu") == ("bf16-mixed" if quick else "32-true")
    )


def test_a_precision_that_was_asked_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    assert precision_on("bf16-mixed", "cpu") == "bf16-mixed"
    assert precision_on("32-true", "auto") == "32-true"


def test_a_gpu_decides_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: not including_emulation)
    assert precision_on("auto", "auto") == "bf16-mixed"
    assert precision_on("auto", "cpu") == "32-true"


def test_the_torch_at_hand_tells_its_instructions() -> None:
    told = torch.cpu.get_capabilities()
    if told["architecture"] == "x86_64":
        assert isinstance(told["avx512_bf16"], bool)
        assert isinstance(told["amx_bf16"], bool)


def test_slow_bfloat16_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pretend(monkeypatch)
    warn_of_slow_bfloat16("fp32", "cpu")
    warn_of_slow_bfloat16("bf16", "cuda")
    assert capsys.readouterr().err == ""
    warn_of_slow_bfloat16("bf16", "cpu")
    assert capsys.readouterr().err.startswith("warning: this processor has no bfloat16 instructions")
    pretend(monkeypatch, avx512_bf16=True)
    warn_of_slow_bfloat16("bf16", "cpu")
    assert capsys.readouterr().err == ""
