"""Allocators in C and what speaks C: the interface, the process in which they live, and spaces whose calls go there."""

from coalloc.native.build import FOLDER, CompilerError
from coalloc.native.host import SubjectDied
from coalloc.native.target import NativeFactory, is_native, native_target, with_settings

__all__ = ["FOLDER", "CompilerError", "NativeFactory", "SubjectDied", "is_native", "native_target", "with_settings"]
