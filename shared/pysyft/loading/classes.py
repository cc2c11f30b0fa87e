"""PySyft's classes that fedsms uses, with the types that syft itself does not state.

A type checker reads the declarations; a running program gets syft's own classes. Attributes that
are not declared are of type Any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shared.pysyft.loading.load import sy

if TYPE_CHECKING:
    import torch

    class BaseWorker:
        """Holds objects by id, sends and answers them (shared/pysyft/mends/worker_set_up.py)."""

        id: Any
        hook: Any
        _objects: dict[Any, Any]
        crypto_plans: bool
        joins_registry: bool

        def recv_msg(self, bin_message: bytes) -> bytes: ...
        def _recv_msg(self, message: bytes) -> bytes: ...
        def _send_msg(self, message: bytes, location: Any = None) -> bytes: ...
        def __getattr__(self, name: str) -> Any: ...

    class VirtualWorker(BaseWorker):
        """A worker inside this process."""

        def __init__(self, hook: Any, id: int | str = 0, **kwargs: Any) -> None: ...  # noqa: A002

    class WebsocketServerWorker(BaseWorker):
        """Makes an event loop of its own unless `loop` is given; binds no socket before start()."""

        def __init__(
            self,
            hook: Any,
            host: str,
            port: int,
            id: int | str = 0,  # noqa: A002  # PySyft's name
            log_msgs: bool = False,
            verbose: bool = False,
            data: Sequence[torch.Tensor] | None = None,
            loop: Any = None,
            cert_path: str | None = None,
            key_path: str | None = None,
        ) -> None: ...

    class WebsocketClientWorker(BaseWorker):
        """Calls `connect()` at the end of its constructor."""

        ws: Any

        def __init__(
            self,
            hook: Any,
            host: str,
            port: int,
            secure: bool = False,
            id: int | str = 0,  # noqa: A002  # PySyft's name
            is_client_worker: bool = False,
            log_msgs: bool = False,
            verbose: bool = False,
            data: Sequence[torch.Tensor] | None = None,
        ) -> None: ...
        def connect(self) -> None: ...
        def close(self) -> None: ...

    class Message:
        """What all messages are."""

    class ObjectMessage(Message):
        object: Any

        def __init__(self, object_: Any) -> None: ...

    class ObjectRequestMessage(Message):
        object_id: int | str
        user: Any
        reason: Any

        def __init__(self, obj_id: int | str, user: Any, reason: Any) -> None: ...

    class ForceObjectDeleteMessage(Message):
        object_id: int | str

        def __init__(self, obj_id: int | str) -> None: ...

    class IsNoneMessage(Message):
        object_id: int | str

        def __init__(self, obj_id: int | str) -> None: ...

    class GetShapeMessage(Message):
        tensor_id: int | str

        def __init__(self, tensor_id: int | str) -> None: ...

    class SearchMessage(Message):
        query: Any

        def __init__(self, query: Any) -> None: ...

    class WorkerCommandMessage(Message):
        """`message` is (args, kwargs, return ids)."""

        command_name: Any
        message: Any

        def __init__(self, command_name: str, message: tuple[Any, ...]) -> None: ...

    class TensorCommandMessage(Message):
        action: Any

        def __init__(self, action: Any) -> None: ...
        @staticmethod
        def computation(
            name: str,
            target: Any,
            args_: tuple[Any, ...],
            kwargs_: dict[str, Any],
            return_ids: Any,
            return_value: bool = False,
        ) -> TensorCommandMessage: ...

    class PointerTensor:
        def __getattr__(self, name: str) -> Any: ...

    class PointerDataset:
        def __init__(self, **kwargs: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

    class BaseDataset:
        """Rows and their labels: `data` (rows, ...) and `targets` (rows, ...)."""

        id: int | str
        data: Any
        targets: Any
        tags: Any

    class GetNotPermittedError(Exception): ...

    class ObjectNotFoundError(Exception): ...

    class ResponseSignatureError(Exception):
        ids_generated: Any

        def __init__(self, ids_generated: Any = None) -> None: ...

else:
    BaseWorker = sy.workers.base.BaseWorker
    VirtualWorker = sy.VirtualWorker
    WebsocketClientWorker = sy.WebsocketClientWorker
    WebsocketServerWorker = sy.WebsocketServerWorker
    Message = sy.messaging.message.Message
    ForceObjectDeleteMessage = sy.messaging.message.ForceObjectDeleteMessage
    GetShapeMessage = sy.messaging.message.GetShapeMessage
    IsNoneMessage = sy.messaging.message.IsNoneMessage
    ObjectMessage = sy.messaging.message.ObjectMessage
    ObjectRequestMessage = sy.messaging.message.ObjectRequestMessage
    SearchMessage = sy.messaging.message.SearchMessage
    TensorCommandMessage = sy.messaging.message.TensorCommandMessage
    WorkerCommandMessage = sy.messaging.message.WorkerCommandMessage
    PointerTensor = sy.PointerTensor
    PointerDataset = sy.generic.pointers.pointer_dataset.PointerDataset
    BaseDataset = sy.BaseDataset
    GetNotPermittedError = sy.exceptions.GetNotPermittedError
    ObjectNotFoundError = sy.exceptions.ObjectNotFoundError
    ResponseSignatureError = sy.exceptions.ResponseSignatureError
