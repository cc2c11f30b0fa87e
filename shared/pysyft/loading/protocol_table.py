"""The table of type codes, read from syft_proto's `proto.json` without its Python code.

syft_proto reads it through pkg_resources, which setuptools has dropped, and beside it imports
message classes that protobuf 3.20 and later refuse to create. PySyft's messages travel as msgpack:
the protobuf classes are only imported, never used.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_MESSAGE_CLASSES = {
    "execution.v1.communication_action_pb2": ["CommunicationAction"],
    "execution.v1.computation_action_pb2": ["ComputationAction"],
    "execution.v1.placeholder_id_pb2": ["PlaceholderId"],
    "execution.v1.placeholder_pb2": ["Placeholder"],
    "execution.v1.plan_pb2": ["Plan"],
    "execution.v1.protocol_pb2": ["Protocol"],
    "execution.v1.role_pb2": ["Role"],
    "execution.v1.state_pb2": ["State"],
    "execution.v1.state_tensor_pb2": ["StateTensor"],
    "frameworks.torch.tensors.interpreters.v1.additive_shared_pb2": ["AdditiveSharingTensor"],
    "generic.pointers.v1.pointer_tensor_pb2": ["PointerTensor"],
    "messaging.v1.message_pb2": ["ObjectMessage", "SyftMessage", "TensorCommandMessage"],
    "types.syft.v1.arg_pb2": ["Arg"],
    "types.syft.v1.id_pb2": ["Id"],
    "types.syft.v1.shape_pb2": ["Shape"],
    "types.torch.v1.device_pb2": ["Device"],
    "types.torch.v1.parameter_pb2": ["Parameter"],
    "types.torch.v1.script_function_pb2": ["ScriptFunction"],
    "types.torch.v1.script_module_pb2": ["ScriptModule"],
    "types.torch.v1.size_pb2": ["Size"],
    "types.torch.v1.tensor_data_pb2": ["TensorData"],
    "types.torch.v1.tensor_pb2": ["TorchTensor"],
    "types.torch.v1.traced_module_pb2": ["TracedModule"],
}

# the table knows these by the module that torch 1.4 defined them in
_MOVED = {
    "torch.jit.ScriptModule": "torch.jit._script.ScriptModule",
    "torch.jit.ScriptFunction": "torch.jit.ScriptFunction",
    "torch.jit.TopLevelTracedModule": "torch.jit._trace.TopLevelTracedModule",
}


def read() -> dict[str, Any]:
    """Returns {"TYPES": {class name: {"code": int, ...}}, ...}; ImportError without syft_proto."""
    spec = find_spec("syft_proto")  # finds the package, runs none of its code
    if spec is None or spec.origin is None:
        raise ImportError("the package syft-proto is missing: install requirements.txt")
    table: dict[str, Any] = json.loads(Path(spec.origin).with_name("proto.json").read_bytes())
    types = table["TYPES"]
    types.update({new: types[old] for old, new in _MOVED.items()})
    return table


def modules() -> dict[str, ModuleType]:
    """Stand-ins for syft_proto and all of its modules that syft imports, by name."""
    root = _package("syft_proto")
    root.proto_info = read()  # type: ignore[attr-defined]
    found = {"syft_proto": root}
    for name, classes in _MESSAGE_CLASSES.items():
        path = "syft_proto"
        for part in name.split("."):
            path = f"{path}.{part}"
            found.setdefault(path, _package(path))
        for class_name in classes:
            setattr(found[path], class_name, type(class_name, (), {"__module__": path}))
    return found


def _package(name: str) -> ModuleType:
    module = ModuleType(name)
    module.__path__ = []
    return module
