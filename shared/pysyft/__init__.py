"""The one door to PySyft: the real `syft` 0.2.5, importable and correct on today's stack.

    from shared import pysyft

    hook = pysyft.make_hook()
    data = pysyft.serialize(pysyft.ObjectMessage(tensor), hook.local_worker)

Importing this imports torch and syft and mends syft; it does not hook torch, `make_hook` does.
Nothing of the installed syft is edited: each file here mends one cause while syft is in memory.
"""

from shared.pysyft import (
    binary,
    hooking,
    ids,
    integer_division,
    many_results,
    quick_codes,
    quick_names,
    remote_errors,
    serialisation,
    worker_set_up,
)
from shared.pysyft.classes import (
    BaseWorker,
    ForceObjectDeleteMessage,
    GetNotPermittedError,
    GetShapeMessage,
    IsNoneMessage,
    Message,
    ObjectMessage,
    ObjectNotFoundError,
    ObjectRequestMessage,
    PointerTensor,
    ResponseSignatureError,
    SearchMessage,
    TensorCommandMessage,
    VirtualWorker,
    WebsocketClientWorker,
    WebsocketServerWorker,
    WorkerCommandMessage,
)
from shared.pysyft.content_rules import KNOWN_TYPES, restrict_decoder
from shared.pysyft.errors import ForbiddenContent, MalformedMessage
from shared.pysyft.hooking import make_hook
from shared.pysyft.loading import sy
from shared.pysyft.serialisation import deserialize, serialize
from shared.pysyft.worker_set_up import forget_worker, introduce

for _mend in (
    binary,
    serialisation,
    remote_errors,
    ids,
    integer_division,
    many_results,
    worker_set_up,
    quick_codes,
    quick_names,
    hooking,
):
    _mend.apply()

__all__ = [
    "KNOWN_TYPES",
    "BaseWorker",
    "ForbiddenContent",
    "ForceObjectDeleteMessage",
    "GetNotPermittedError",
    "GetShapeMessage",
    "IsNoneMessage",
    "MalformedMessage",
    "Message",
    "ObjectMessage",
    "ObjectNotFoundError",
    "ObjectRequestMessage",
    "PointerTensor",
    "ResponseSignatureError",
    "SearchMessage",
    "TensorCommandMessage",
    "VirtualWorker",
    "WebsocketClientWorker",
    "WebsocketServerWorker",
    "WorkerCommandMessage",
    "deserialize",
    "forget_worker",
    "introduce",
    "make_hook",
    "restrict_decoder",
    "serialize",
    "sy",
]
