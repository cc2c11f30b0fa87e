"""The door to PySyft: tensors arrive as they were, and bad bytes only ever raise one error."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import pysyft
from shared.pysyft.messages.tensor_format import DTYPES
from tests.helpers.pysyft_messages import ROUND, Node, simple, wire

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def me() -> Any:
    return pysyft.make_hook().local_worker


@pytest.fixture
def node(me: Any) -> Node:
    return Node(me.hook, "localhost", 0, id="bob", loop=object())


def test_importing_hooks_nothing_warns_nobody_and_leaves_no_stand_in_behind() -> None:
    script = (
        "import shared.pysyft, sys, torch, websockets\n"
        "assert not hasattr(torch, 'torch_hooked')\n"
        "assert websockets.__file__\n"
        "assert not {'tblib', 'phe', 'lz4', 'requests', 'six', 'torch._six'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=ROOT, check=True)


def test_torch_is_hooked_once(me: Any) -> None:
    assert pysyft.make_hook() is me.hook


shapes = st.lists(st.integers(0, 5), max_size=4)


@given(st.sampled_from(sorted(DTYPES)), shapes, st.booleans(), st.booleans(), st.randoms())
def test_a_tensor_comes_back_bit_for_bit(
    name: str, shape: list[int], requires_grad: bool, transposed: bool, source: Any
) -> None:
    worker = pysyft.make_hook().local_worker
    dtype = DTYPES[name]
    octets = bytearray(source.randbytes(torch.Size(shape).numel() * dtype.itemsize))
    if dtype is torch.bool:
        octets = bytearray(octet & 1 for octet in octets)
    flat: Any = torch.frombuffer(octets, dtype=dtype) if octets else torch.empty(0, dtype=dtype)
    tensor = flat.reshape(shape)
    if transposed and len(shape) > 1:
        tensor = tensor.transpose(0, 1)  # not contiguous
    tensor.requires_grad_(requires_grad and dtype.is_floating_point)

    message = pysyft.deserialize(pysyft.serialize(pysyft.ObjectMessage(tensor), worker), worker)

    received = message.object
    assert (received.dtype, received.shape) == (tensor.dtype, tensor.shape)
    assert received.requires_grad == tensor.requires_grad
    assert _octets(received) == _octets(tensor)  # NaNs included
    assert received.id == tensor.id


def _octets(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist())


def test_a_received_tensor_can_be_written_and_is_nobody_elses(me: Any) -> None:
    sent = torch.zeros(3)
    data = pysyft.serialize(sent, me)
    received = pysyft.deserialize(data, me)
    received.add_(1)
    assert sent.tolist() == [0, 0, 0]
    assert pysyft.deserialize(data, me).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "tensor", [torch.zeros(2, dtype=torch.complex64), torch.zeros(2, 2).to_sparse()]
)
def test_a_tensor_that_the_format_cannot_hold_is_refused_by_the_sender(
    me: Any, tensor: torch.Tensor
) -> None:
    with pytest.raises(TypeError, match="cannot send a"):
        pysyft.serialize(pysyft.ObjectMessage(tensor), me)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (0, "object"),
        (0, b"float32"),
        (1, 1),
        (2, [7]),
        (2, [-2, -3]),
        (2, [2**40, 2**40]),
        (2, [6.0]),
        (2, 6),
        (3, b""),
        (3, "text"),
        (3, b"\0" * 23),
    ],
)
def test_a_tensor_whose_parts_disagree_is_malformed(me: Any, field: int, value: object) -> None:
    values = simple(torch.zeros(2, 3), me)
    values[1][1][field] = value
    with pytest.raises(pysyft.MalformedMessage):
        pysyft.deserialize(wire(values), me)


def test_a_pickled_tensor_is_malformed(me: Any) -> None:
    pickled = io.BytesIO()
    torch.save([1.0], pickled)
    values = simple(torch.zeros(2, 3), me)
    values[1][1] = pickled.getvalue()
    with pytest.raises(pysyft.MalformedMessage, match="not \\(dtype"):
        pysyft.deserialize(wire(values), me)


def test_the_sender_cannot_choose_a_compression(me: Any) -> None:
    packed = msgpack.packb(5)
    for scheme, content in ((41, packed), (42, zlib.compress(packed)), (0, packed)):
        with pytest.raises(pysyft.MalformedMessage, match="compressed"):
            pysyft.deserialize(bytes([scheme]) + content, me)


def test_headers_that_announce_many_items_take_no_memory(me: Any) -> None:
    announced = b"\xdd\x00\x10\x00\x00"  # an array of 2**20 items
    with pytest.raises(pysyft.MalformedMessage, match="max_array_len"):
        pysyft.deserialize(b"\x28" + announced * 300 + bytes(2**20), me)


@given(st.binary(max_size=200))
def test_garbage_is_malformed_or_a_plain_value(data: bytes) -> None:
    worker = pysyft.make_hook().local_worker
    for start in (b"", b"\x28"):
        with suppress(pysyft.MalformedMessage):
            pysyft.deserialize(start + data, worker)


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_message_is_malformed_or_still_a_message(data: st.DataObject) -> None:
    hook = pysyft.make_hook()
    node = Node(hook, "localhost", 0, id="bob", loop=object())
    pysyft.restrict_decoder(node, ROUND)
    tensor: Any = torch.zeros(3)
    tensor.id = 7
    command = pysyft.WorkerCommandMessage("train", ((1, "x"), {"state": tensor}, [5]))
    whole = bytearray(pysyft.serialize(command, node))
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    with suppress(pysyft.MalformedMessage):
        pysyft.deserialize(bytes(whole[:cut]), node)


def test_an_error_arrives_with_its_ids_and_without_a_traceback(me: Any) -> None:
    with pytest.raises(pysyft.ResponseSignatureError) as raised:
        raise pysyft.ResponseSignatureError([4, 5])
    data = pysyft.serialize(raised.value, me)
    assert b".py" not in data
    with pytest.raises(pysyft.ResponseSignatureError) as caught:
        pysyft.deserialize(data, me)
    assert list(caught.value.ids_generated) == [4, 5]


def test_an_error_cannot_name_another_class(me: Any) -> None:
    values = simple(pysyft.GetNotPermittedError(), me)
    values[1][0] = [5, [b"RemoteObjectFoundError"]]
    with pytest.raises(pysyft.MalformedMessage, match="unknown error"):
        pysyft.deserialize(wire(values), me)


def test_seeding_python_repeats_no_id_and_asking_for_ids_moves_no_seed(me: Any) -> None:
    drawn = []
    for _ in range(2):
        random.seed(1)
        drawn += [pysyft.sy.ID_PROVIDER.pop(), random.random()]
    assert drawn[0] != drawn[2]
    assert drawn[1] == drawn[3]


def test_a_worker_can_stay_out_of_the_registry_and_be_introduced(me: Any, node: Node) -> None:
    assert not node._objects
    assert node.id not in me._known_workers
    other = Node(me.hook, "localhost", 0, id=node.id, loop=object())
    pysyft.introduce(node)
    with pytest.raises(ValueError, match="already has a worker with the id 'bob'"):
        pysyft.introduce(other)
    pysyft.forget_worker(other)
    assert me._known_workers[node.id] is node
    pysyft.forget_worker(node)
    assert node.id not in me._known_workers
