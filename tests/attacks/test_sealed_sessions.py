"""What a coordinator, a holder and a provider can do to a sealed session, and what they cannot."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scripts.local.nodes import LocalNode, local_nodes
from server.encrypted.sealed import SealedParties, digits_of, sealed_session
from server.encrypted.secret import Secret
from server.pointers.api import close_workers, dial_workers, in_loop
from shared.errors import FedsmsError, NodeFailed, PolicyRefused, UsageError
from shared.model.recipe import Recipe, load_recipe
from shared.pointers.frames import Item
from shared.pointers.sealed_sessions import Seal, SealedContext
from shared.pysyft import make_hook, sharing
from shared.secure_aggregation.contents import recipe_digest
from tests.attacks.test_shares import CHI_SQUARED, unevenness
from tests.conftest import write_owner
from tests.helpers.identities import Federation, make_federation
from tests.helpers.pointers import write_recipe
from tests.helpers.sealed import parties_of, split, whole_of
from tests.helpers.sharing import flags_of, sealed_nodes

pytestmark = pytest.mark.timeout(280)
ROWS = range(4)
TOKENS = 6


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return make_federation(tmp_path_factory.mktemp("federation"))


@pytest.fixture(scope="module")
def three(
    tmp_path_factory: pytest.TempPathFactory, federation: Federation
) -> Iterator[list[LocalNode]]:
    make_hook()
    with sealed_nodes(tmp_path_factory.mktemp("sealed"), federation) as running:
        yield running


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return load_recipe(write_recipe(tmp_path_factory.mktemp("recipe")))


@pytest.fixture(scope="module")
def us(three: list[LocalNode], federation: Federation, recipe: Recipe) -> Iterator[SealedParties]:
    """A session of the coordinator's, which is not trusted in any of these tests."""
    addresses = [node.flag for node in three]
    identity = federation.coordinator("hospital")
    with sealed_session(addresses, "bob", recipe, identity=identity) as opened:
        yield opened


def message(us: SealedParties) -> Secret:
    """Shares of bob's messages, as they are at the holders."""
    return digits_of(us, ROWS, TOKENS, 32, "low")


@pytest.mark.parametrize("place", [0, 1], ids=["bob", "anne"])
@pytest.mark.parametrize(
    "way",
    [
        lambda part: part,
        lambda part: part + 0,
        lambda part: part * 1,
        lambda part: part.sum(),
        lambda part: part[0],
        lambda part: part.reshape(-1),
        lambda part: torch.cat([part, part]),
    ],
    ids=["itself", "plus", "times", "sum", "one", "reshaped", "laid together"],
)
def test_no_share_of_a_message_is_given_to_the_coordinator(
    us: SealedParties, place: int, way: Callable[[Any], Any]
) -> None:
    part = way(message(us).parts[place])
    with pytest.raises(NodeFailed, match="does not leave"):
        part.get()


def test_nor_of_the_model_once_it_was_sent(us: SealedParties) -> None:
    secret = Secret.share(us, np.array([1.0, 2.0]))
    with pytest.raises(NodeFailed, match="does not leave"):
        secret.parts[0].get()
    with pytest.raises(UsageError, match="coordinator does not open"):
        secret.open()


def test_what_would_tell_of_values_by_sizes_is_not_run(
    three: list[LocalNode], federation: Federation, recipe: Recipe
) -> None:
    with opened(three, "bob", recipe, federation.coordinator("hospital")) as ours:
        part = message(ours).parts[1]
        with pytest.raises(FedsmsError, match="sealed session does not"):
            part.nonzero()


@pytest.mark.parametrize("kind", [Item.SHAPE, Item.SEARCH])
def test_sizes_and_tags_are_not_asked_for(us: SealedParties, kind: Item) -> None:
    part = message(us).parts[0]
    content = part.child.id_at_location if kind is Item.SHAPE else ["#test"]
    with pytest.raises(NodeFailed, match="does not answer this"):
        us.holders[0].ask(kind, content)


def test_scores_of_shares_are_not_counted(us: SealedParties) -> None:
    part = message(us).parts[0]
    with pytest.raises(NodeFailed, match="counts no scores"):
        us.holders[0].summarise([part.child], [part.child])


def test_a_result_that_is_revealed_goes_sealed_to_the_owner_alone(us: SealedParties) -> None:
    logits = Secret.share(us, np.array([[5.0]]))
    sealed = [
        sharing.run_with(holder, "sealed.reveal", None, part)
        for holder, part in zip(us.holders, logits.parts, strict=True)
    ]
    for packet in sharing.fetch_all(sealed):
        assert packet.numel() == 8 + 16  # and no number of it is what was shared
    anne = us.holders[1]
    packet = sharing.send(torch.zeros(24, dtype=torch.uint8), anne)
    sharing.run_with(anne, "sealed.learn", None, packet, packet, 0, 1, 1)
    with pytest.raises(NodeFailed, match="another part"):
        anne.wait()


def test_scores_that_are_not_paid_for_are_told_by_no_order_of_frames(
    tmp_path: Path, recipe: Recipe
) -> None:
    make_hook()
    federation = make_federation(tmp_path)
    paid = "[pointers]\nnumbers = 0\n"
    with (
        sealed_nodes(tmp_path, federation, tells=True, others=paid) as running,
        opened(running, "bob", recipe, federation.coordinator("hospital")) as ours,
    ):
        logits = Secret.share(ours, np.array([[5.0]]))
        sealed = [
            sharing.run_with(holder, "sealed.reveal", None, part)
            for holder, part in zip(ours.holders, logits.parts, strict=True)
        ]
        packets = [sharing.send(one, ours.owner) for one in sharing.fetch_all(sealed)]
        learned = sharing.run_with(ours.owner, "sealed.learn", None, *packets, 0, 1, 8192)
        ours.owner.stream.flush()  # in a frame that wants no answer
        with pytest.raises(NodeFailed, match=r"rule pointers\.numbers"):
            sharing.fetch_all([learned])
    assert list(tmp_path.glob("*.scores.csv")) == []


# who may take part


def refused_keys(
    three: list[LocalNode],
    identity: Path,
    recipe: Recipe,
    tell: Callable[[dict[str, Any]], dict[str, Any]],
) -> list[str]:
    """How each node answers where the coordinator tells nodes contexts that `tell` makes."""
    workers = dial_workers([one.flag for one in three], True, identity, False)
    facts: dict[str, Any] = {
        "session": secrets.token_bytes(16),
        "holders": ("bob", "anne"),
        "provider": "carol",
        "owner": "bob",
        "recipe": recipe_digest(recipe.to_json()),
    }
    try:
        keys = {}
        for one in workers:
            told = tell({"to": str(one.id), **facts})
            told.pop("to")
            keys[str(one.id)] = in_loop(one.open_sealed(SealedContext(**told).pack(), recipe))
        answers = []
        for one in workers:
            try:
                in_loop(one.join_sealed([keys[name] for name in sorted(keys)]))
                answers.append("")
            except PolicyRefused as error:
                answers.append(error.words)
        return answers
    finally:
        close_workers(workers)


def test_nodes_that_are_told_different_things_have_no_session(
    three: list[LocalNode], federation: Federation, recipe: Recipe
) -> None:
    def tell(told: dict[str, Any]) -> dict[str, Any]:
        return {**told, "holders": ("anne", "bob")} if told["to"] == "anne" else told

    answers = refused_keys(three, federation.coordinator("hospital"), recipe, tell)
    assert all("rule secure_aggregation.roster" in one for one in answers)


def test_the_same_things_are_taken(
    three: list[LocalNode], federation: Federation, recipe: Recipe
) -> None:
    answers = refused_keys(three, federation.coordinator("hospital"), recipe, lambda told: told)
    assert answers == ["", "", ""]


def opened(nodes: list[LocalNode], owner: str, recipe: Recipe, identity: Path) -> Any:
    return sealed_session([one.flag for one in nodes], owner, recipe, identity=identity)


def test_messages_are_not_shared_with_whom_their_owner_does_not_name(
    three: list[LocalNode], federation: Federation, recipe: Recipe
) -> None:
    bob, anne, carol = three
    hospital = federation.coordinator("hospital")
    with (
        pytest.raises(PolicyRefused, match=r"rule shared\.messages_with.*bob, carol"),
        opened([anne, bob, carol], "anne", recipe, hospital),
    ):
        pass


def test_a_coordinator_that_is_not_named_begins_no_sealed_session(
    three: list[LocalNode], federation: Federation, recipe: Recipe
) -> None:
    with (
        pytest.raises(PolicyRefused, match=r"rule shared\.coordinators"),
        opened(three, "bob", recipe, federation.coordinator("clinic")),
    ):
        pass


def test_a_node_that_the_ca_invented_under_a_pinned_name_is_refused(
    tmp_path: Path, recipe: Recipe
) -> None:
    """Whoever holds the CA's key makes another anne, with a certificate that is good."""
    make_hook()
    federation = make_federation(tmp_path)
    hospital = federation.coordinator("hospital")
    with sealed_nodes(tmp_path, federation) as (bob, anne, carol):
        anne.stop()
        (federation.folder / "node-anne").rename(federation.folder / "the-real-anne")
        federation.authority.revoke("anne")  # in a list that bob need not have seen
        owner = write_owner(tmp_path, "anne", 40, 10, 1)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        flags = flags_of(owner, elsewhere, tmp_path / "anne.policy.toml", federation)
        with (
            local_nodes({"anne": flags}) as (false,),
            pytest.raises(PolicyRefused, match="another key than the one pinned"),
            opened([bob, false, carol], "bob", recipe, hospital),
        ):
            pass


# what two learn who work together, and what one sees


def opened_by_anne(secret: list[int]) -> list[Any]:
    """What anne can open while a product of a secret is computed, and her shares."""
    us = parties_of()
    x, y = split(secret), split(secret)
    packets = us.packets("carol", "triple", "mul", (len(secret),), (len(secret),))
    told = [
        us.ask(holder, "mask", a, b, packet, "mul")
        for holder, a, b, packet in zip(us.context.holders, x, y, packets, strict=True)
    ]
    about = ("mul", (len(secret),), (len(secret),))
    data = us.seals["anne"].open("bob", "opening", about, bytes(told[0].tolist()))
    return [numbers(data), np.array(x[1].tolist()), np.array(y[1].tolist())]


@pytest.mark.parametrize("secret", [[0] * 4000, list(range(4000))], ids=["zeros", "range"])
def test_a_holder_opens_noise_whatever_the_secret(secret: list[int]) -> None:
    assert unevenness(opened_by_anne(secret)) < CHI_SQUARED


def test_a_holder_and_the_provider_together_read_the_secret() -> None:
    us = parties_of()
    x, y = split([41, -7]), split([1, 1])
    packets = us.packets("carol", "triple", "mul", (2,), (2,))
    told = us.ask("bob", "mask", x[0], y[0], packets[0], "mul")
    about = ("mul", (2,), (2,))
    d = numbers(us.seals["anne"].open("bob", "opening", about, bytes(told.tolist())))[:2]
    # what carol and bob have in common opens what she sealed for him
    carol = Seal("bob", {"carol": us.seals["carol"]._common["bob"]})
    a = numbers(carol.open("carol", "triple", about, bytes(packets[0].tolist())))[:2]
    assert (d + a + x[1].numpy()).tolist() == [41, -7]


def numbers(data: bytes) -> Any:
    return np.frombuffer(data, np.int64)


def test_both_holders_together_read_the_secret() -> None:
    assert whole_of(split([41, -7])) == [41, -7]


def test_a_holder_that_tells_wrong_numbers_is_not_noticed() -> None:
    us = parties_of()
    x, y = split([6]), split([7])
    wrong = [x[0] + 1, x[1]]
    assert whole_of(us.product(wrong, y, "mul")) == [49]
