"""A network that cannot be compiled trains as it is, and the log says so."""

import logging

import pytest
import torch
from torch import Tensor, nn

from slpd.training.compiled import compiled

pytestmark = pytest.mark.torch


ELSEWHERE = torch.device("meta")  # which functions are compiled for; everything runs on the CPU


def test_a_network_that_does_not_compile_is_used_uncompiled(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(network: nn.Module, dynamic: bool) -> nn.Module:
        def raise_error(*_: Tensor) -> Tensor:
            raise RuntimeError("Failed to find C compiler.\nSet CC.")

        return raise_error  # type: ignore[return-value]

    monkeypatch.setattr(torch, "compile", failing)
    network = nn.Linear(3, 2)
    assert compiled(network, lambda encode: encode(torch.ones(1, 3)), ELSEWHERE) is network
    assert "Linear is not compiled, which costs speed alone:" in caplog.text
    assert (
        "RuntimeError: Failed to find C compiler.\nSet CC." in caplog.text
    )  # whole: some have no text in their first line


def test_a_network_that_compiles_is_used_compiled(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    backends = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda network, dynamic: backends(network, dynamic=dynamic, backend="aot_eager")
    )
    network = nn.Linear(3, 2)
    fast = compiled(network, lambda encode: encode(torch.ones(1, 3)), ELSEWHERE)
    assert fast is not network
    assert torch.equal(fast(torch.ones(1, 3)), network(torch.ones(1, 3)))
    assert "Linear is compiled" in caplog.text


def test_on_a_cpu_nothing_is_compiled() -> None:
    network = nn.Linear(3, 2)
    assert compiled(network, lambda encode: encode(torch.ones(1, 3)), torch.device("cpu")) is network


def test_a_function_that_cannot_be_compiled_gives_way_to_its_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    def fused(values: Tensor) -> Tensor:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)
    assert compiled(fused, lambda function: function(torch.ones(1)), ELSEWHERE, torch.sin) is torch.sin
