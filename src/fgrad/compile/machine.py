"""Machine code: text in LLVM's language becomes a builtin function of Python's.

Knows LLVM, through llvmlite, the host's instructions, and how Python calls what is written in C; nothing of what the
text is about.
"""

import ctypes
import functools
import re
import sys
from collections.abc import Callable, Iterable
from ctypes import pythonapi
from itertools import count
from threading import RLock
from typing import TYPE_CHECKING, Final, cast

from fgrad.compile.frames import RUNTIME, Kernel
from fgrad.compile.registers import address

if TYPE_CHECKING:
    import llvmlite.binding as llvm

KEPT: Final = 256
"""So many kernels' machine code is kept in memory, for programs that are the same."""
_compiling: Final = RLock()
_OBJECTS: Final = {"_Py_NoneStruct": None, "_Py_NotImplementedStruct": NotImplemented}
_serials: Final = count(1)
_FASTCALL: Final = 0x80  # METH_FASTCALL


@functools.cache
def available() -> bool:
    """Whether kernels can be made here: llvmlite is installed, and Python is CPython with its usual lock."""
    try:
        import llvmlite.binding  # noqa: F401  # asked for
    except ImportError:
        return False
    return sys.implementation.name == "cpython" and getattr(sys, "_is_gil_enabled", lambda: True)()


@functools.cache
def _host() -> "tuple[llvm.Target, str, llvm.FeatureMap]":
    """What LLVM writes code for: the machine that it runs on."""
    import llvmlite.binding as llvm  # lazily, an optional dependency

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features()


def _target_machine() -> "llvm.TargetMachine":
    """What writes code; a compiler takes it for its own."""
    target, cpu, features = _host()
    return target.create_target_machine(cpu=cpu, features=features.flatten(), opt=2, jit=True)


@functools.cache
def bits() -> int:
    """How many bits a vector of the host's has."""
    features = _host()[2]
    if features.get("avx512f") and features.get("avx512vl") and features.get("avx512bw"):
        return 512
    return 256 if features.get("avx2") and features.get("fma") else 128


@functools.cache
def _compiler() -> "llvm.LLJIT":
    import llvmlite.binding as llvm

    return llvm.create_lljit_compiler(_target_machine())


@functools.lru_cache(KEPT)
def _compiled(text: str) -> "llvm.ResourceTracker":
    """Machine code of a kernel, which lasts as long as what is given; made in one thread at a time."""
    with _compiling:
        return _linked(text, ("kernel",))


@functools.cache
def _runtime() -> "llvm.ResourceTracker":
    """Machine code of what all kernels call."""
    return _linked(RUNTIME, re.findall(r"^define .*?@(\w+)\(", RUNTIME, re.MULTILINE))


def _linked(text: str, names: Iterable[str]) -> "llvm.ResourceTracker":
    import llvmlite.binding as llvm

    builder = llvm.JITLibraryBuilder().add_ir(text)
    for name in names:
        builder.export_symbol(name)
    for name in re.findall(r"^(?:declare .*?)?@(?!llvm\.)([\w.]+)(?:\(| = external)", text, re.MULTILINE):
        builder.import_symbol(name, _found(name))
    return builder.link(_compiler(), f"fgrad {next(_serials)}")


def _found(name: str) -> int | None:
    """Where something is that a kernel uses: of Python's, ours, or the platform's."""
    if name in _OBJECTS:
        return id(_OBJECTS[name])
    if name.startswith("Py"):
        return ctypes.cast(getattr(pythonapi, name), ctypes.c_void_p).value
    return cast("int", _runtime()[name]) if name.startswith("fgrad_") else address(name)


class _Method(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def function(kernel: Kernel) -> Callable[..., object]:
    """The function that a kernel is, which keeps alive what it needs."""
    code = _compiled(kernel.text)
    method = _Method(b"kernel", code["kernel"], _FASTCALL, b"A native kernel.")
    make = pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    return cast("Callable[..., object]", make(ctypes.addressof(method), (*kernel.helpers, method, code), None))


def assembly(kernel: Kernel) -> str:
    """What the machine does, in its own language."""
    import llvmlite.binding as llvm

    return cast("str", _target_machine().emit_assembly(llvm.parse_assembly(kernel.text)))
