"""What each party of a computation on shares is told, and what two learn who work together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from server.pointers.client import PointerClient
from tests.helpers.sharing import Parties

pytestmark = pytest.mark.timeout(280)
SECRETS = ([0] * 400, [7] * 400, list(range(-200, 200)))
CHI_SQUARED = 400.0
"""Of 255 degrees of freedom: uniform bytes are beyond that once in 50 million times."""


def computed(us: Parties, secret: list[int]) -> Any:
    """A product and a comparison of a secret, with shares that are drawn anew."""
    whole: Any = torch.tensor(secret)
    shared = whole.share(us.bob, us.anne, dtype="long", crypto_provider=us.carol)
    return shared * shared, shared >= 3


def record(monkeypatch: pytest.MonkeyPatch, client: PointerClient) -> tuple[list[Any], list[Any]]:
    """Tensors that a node is sent from now on, and the operations that it is asked for."""
    sent: list[Any] = []
    asked: list[Any] = []
    send, command = client.send_object, client.command

    def sending(value: Any, *others: Any) -> None:
        sent.append(np.array(value.tolist(), np.int64))
        send(value, *others)

    def commanding(template: Any, ids: list[int]) -> None:
        asked.append(template)
        command(template, ids)

    monkeypatch.setattr(client, "send_object", sending)
    monkeypatch.setattr(client, "command", commanding)
    return sent, asked


def unevenness(sent: list[Any]) -> float:
    """Chi squared of the bytes of numbers, against uniform ones."""
    octets = np.concatenate([one.ravel() for one in sent]).view(np.uint8)
    counts = np.bincount(octets, minlength=256)
    expected = octets.size / 256
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("secret", SECRETS, ids=["zeros", "sevens", "range"])
@pytest.mark.parametrize("who", [0, 1], ids=["bob", "anne"])
def test_what_one_holder_is_sent_is_noise_whatever_the_secret(
    us: Parties, who: int, secret: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, _ = record(monkeypatch, us[who])
    product, sign = computed(us, secret)
    assert sum(one.size for one in sent) > 100_000
    assert unevenness(sent) < CHI_SQUARED
    assert product.get().tolist() == [one * one for one in secret]
    assert sign.get().tolist() == [int(one >= 3) for one in secret]


def test_the_measure_tells_a_secret_from_noise(us: Parties) -> None:
    assert unevenness([np.array(SECRETS[2] * 100)]) > CHI_SQUARED


def test_the_provider_is_sent_nothing_and_asked_the_same_whatever_the_secret(
    us: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, asked = record(monkeypatch, us.carol)
    seen = []
    for secret in SECRETS:
        computed(us, secret)
        seen.append(list(asked))
        asked.clear()
    assert sent == []
    assert seen[0]
    assert seen[0] == seen[1] == seen[2]


def test_holders_are_asked_the_same_whatever_the_secret(
    us: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, asked = record(monkeypatch, us.bob)
    computed(us, SECRETS[0])
    first = list(asked)
    asked.clear()
    computed(us, SECRETS[2])
    assert first
    assert asked == first


def test_both_holders_together_read_the_secret(
    us: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_bob, to_anne = (record(monkeypatch, one)[0] for one in (us.bob, us.anne))
    computed(us, SECRETS[2])
    assert (to_bob[0] + to_anne[0]).tolist() == SECRETS[2]


def test_a_holder_and_the_provider_together_read_the_secret(
    us: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, _ = record(monkeypatch, us.bob)
    made: list[Any] = []
    begin = us.carol.begin_fetch

    def fetching(ids: Any) -> Any:
        wait = begin(ids)
        return lambda: made.append(wait()) or made[-1]  # type: ignore[func-returns-value]

    monkeypatch.setattr(us.carol, "begin_fetch", fetching)
    whole: Any = torch.tensor(SECRETS[2])
    shared = whole.share(us.bob, us.anne, dtype="long", crypto_provider=us.carol)
    kept = shared * shared
    a = np.array((made[0][0] + made[0][1]).tolist())
    opened = [one for one in sent if one.shape == (400,)]
    assert any((one + a).tolist() == SECRETS[2] for one in opened)  # d = x - a
    del kept
