"""The one door to PySyft: the real `syft` 0.2.5, importable and correct on today's stack.

    from shared import pysyft

    hook = pysyft.make_hook()
    data = pysyft.serialize(pysyft.ObjectMessage(tensor), hook.local_worker)

Importing this imports torch and syft and mends syft; it does not hook torch, `make_hook` does.
Nothing of the installed syft is edited: each file here mends one cause while syft is in memory.
"""

from shared.pysyft import hooking
from shared.pysyft.hooking import make_hook
from shared.pysyft.loading.classes import (
    BaseDataset,
    BaseWorker,
    ForceObjectDeleteMessage,
    GetNotPermittedError,
    GetShapeMessage,
    IsNoneMessage,
    Message,
    ObjectMessage,
    ObjectNotFoundError,
    ObjectRequestMessage,
    PointerDataset,
    PointerTensor,
    ResponseSignatureError,
    SearchMessage,
    TensorCommandMessage,
    VirtualWorker,
    WebsocketClientWorker,
    WebsocketServerWorker,
    WorkerCommandMessage,
)
from shared.pysyft.loading.load import sy
from shared.pysyft.mends import (
    attribute_pointers,
    ids,
    integer_division,
    many_results,
    relu_layers,
    worker_set_up,
)
from shared.pysyft.mends.ids import new_id
from shared.pysyft.mends.worker_set_up import forget_worker, introduce
from shared.pysyft.messages import binary, remote_errors, serialisation
from shared.pysyft.messages.content_rules import KNOWN_TYPES, restrict_decoder
from shared.pysyft.messages.errors import ForbiddenContent, MalformedMessage
from shared.pysyft.messages.serialisation import deserialize, serialize
from shared.pysyft.messages.tensor_format import DTYPES
from shared.pysyft.sharing import comparisons, products, randomness, relaying
from shared.pysyft.shortcuts import federated_batches, pointer_shortcuts, quick_codes, quick_names
from shared.pysyft.shortcuts.plain_parameters import parameter_arrays, parameter_from
from shared.pysyft.shortcuts.pointer_arguments import NotForTheWire, encode
from shared.pysyft.shortcuts.pointer_shortcuts import remote_tensor

for _mend in (
    binary,
    serialisation,
    remote_errors,
    ids,
    integer_division,
    many_results,
    attribute_pointers,
    relu_layers,
    worker_set_up,
    quick_codes,
    quick_names,
    pointer_shortcuts,
    federated_batches,
    randomness,
    products,
    comparisons,
    relaying,
    hooking,
):
    _mend.apply()

__all__ = [
    "DTYPES",
    "KNOWN_TYPES",
    "BaseDataset",
    "BaseWorker",
    "ForbiddenContent",
    "ForceObjectDeleteMessage",
    "GetNotPermittedError",
    "GetShapeMessage",
    "IsNoneMessage",
    "MalformedMessage",
    "Message",
    "NotForTheWire",
    "ObjectMessage",
    "ObjectNotFoundError",
    "ObjectRequestMessage",
    "PointerDataset",
    "PointerTensor",
    "ResponseSignatureError",
    "SearchMessage",
    "TensorCommandMessage",
    "VirtualWorker",
    "WebsocketClientWorker",
    "WebsocketServerWorker",
    "WorkerCommandMessage",
    "deserialize",
    "encode",
    "forget_worker",
    "introduce",
    "make_hook",
    "new_id",
    "parameter_arrays",
    "parameter_from",
    "remote_tensor",
    "restrict_decoder",
    "serialize",
    "sy",
]
