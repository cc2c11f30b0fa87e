"""What `import syft` asks for at its top level and fedsms does not install.

PySyft 0.2.5 imports packages that workers, pointers and sharing never call (Paillier keys, pickled
tracebacks, the HTTP grid), and modules that have since left Python, torch and setuptools. They are
stood in for while syft is imported and taken away again, so that no other package ever finds them.
"""

from __future__ import annotations

import collections.abc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from shared.pysyft.loading import protocol_table, websockets_adapter

_MISSING = object()


class AbsentModule(ModuleType):
    """A module that can be imported and does nothing: using anything of it raises ImportError."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _absent(f"{self.__name__}.{name}")


def _absent(name: str) -> type:
    def refuse(self: object, *_: object, **__: object) -> None:
        raise ImportError(f"{name} is not installed: fedsms uses no part of PySyft that needs it")

    return type(name.rpartition(".")[2], (), {"__init__": refuse, "__doc__": f"Absent {name}."})


def _absent_package(name: str, *submodules: str) -> dict[str, ModuleType]:
    package = AbsentModule(name)
    package.__path__ = []
    modules: dict[str, ModuleType] = {name: package}
    for submodule in submodules:
        modules[f"{name}.{submodule}"] = AbsentModule(f"{name}.{submodule}")
        setattr(package, submodule, modules[f"{name}.{submodule}"])
    return modules


def _without_pickled_tracebacks() -> dict[str, ModuleType]:
    # tblib makes traceback objects from a peer's text, and lets pickles carry them
    modules = _absent_package("tblib", "pickling_support")
    modules["tblib.pickling_support"].install = lambda: None  # type: ignore[attr-defined]
    return modules


def _former_torch_module() -> ModuleType:
    module = ModuleType("torch._six")
    module.string_classes = (str, bytes)  # type: ignore[attr-defined]
    module.int_classes = int  # type: ignore[attr-defined]
    module.container_abcs = collections.abc  # type: ignore[attr-defined]
    return module


def _former_python_module() -> dict[str, ModuleType]:
    # asked only whether TensorFlow is older than 2, and TensorFlow is hidden below
    return _absent_package("distutils", "version")


def _modules() -> dict[str, ModuleType | None]:
    modules: dict[str, ModuleType | None] = {
        "torch._six": _former_torch_module(),
        "websockets": websockets_adapter.module(),
        # None makes an import fail at once: an installed TensorFlow would change what syft hooks
        "tensorflow": None,
        "tf_encrypted": None,
        **_former_python_module(),
        **_without_pickled_tracebacks(),
        **_absent_package("lz4", "frame"),
        **_absent_package("phe", "paillier"),
        **_absent_package("requests"),
        **_absent_package("six"),
        **_absent_package("google", "protobuf", "protobuf.empty_pb2"),
        **protocol_table.modules(),
    }
    if find_spec("websocket") is None:  # only the stock client talks through it
        modules.update(_absent_package("websocket"))
    return modules


@contextmanager
def installed() -> Iterator[None]:
    """Stands in for every such module; what sys.modules held before is back afterwards."""
    modules = _modules()
    before = {name: sys.modules.get(name, _MISSING) for name in modules}
    sys.modules.update(modules)  # type: ignore[arg-type]  # None is how sys.modules says "absent"
    try:
        yield
    finally:
        for name, module in before.items():
            if module is _MISSING:
                del sys.modules[name]
            else:
                sys.modules[name] = module  # type: ignore[assignment]
