"""Runs a command that may open no vsock: adbd listens there too, and no network namespace confines that.

The rule is a seccomp filter, and every process that the command starts is under it.
"""

import ctypes
import os
import socket
import struct
import sys

SOCKET = {"x86_64": 41, "aarch64": 198}  # the number of the call socket(family, ...)
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, FILTER = 22, 38, 2
EAFNOSUPPORT = 97


def rules() -> bytes:
    """socket(AF_VSOCK, ...) fails with EAFNOSUPPORT, all else is allowed (classic BPF on struct seccomp_data)."""
    load, equal, answer = 0x20, 0x15, 0x06
    steps = (
        (load, 0, 0, 0),  # the call's number
        (equal, 0, 3, SOCKET[os.uname().machine]),
        (load, 0, 0, 16),  # its first argument
        (equal, 0, 1, socket.AF_VSOCK),
        (answer, 0, 0, 0x00050000 | EAFNOSUPPORT),
        (answer, 0, 0, 0x7FFF0000),
    )
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def main() -> None:
    """Puts the filter in place and becomes the command."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    libc, code = ctypes.CDLL(None, use_errno=True), rules()
    program = Program(len(code) // 8, code)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, FILTER, ctypes.byref(program)
    ):
        raise OSError(ctypes.get_errno(), "no seccomp filter can be set")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
