"""The adb side of a phone that has not accepted this computer's key: every signature is answered by a new token.

Debian's adbd asks for no key, so this stands in for it; the client is the real one. Protocol: AOSP's
packages/modules/adb/protocol.txt, a header of six little-endian words, then the payload.
"""

import os
import socket
import struct
import sys

AUTH, TOKEN, PUBLIC_KEY = b"AUTH", 1, 3


def answer(client: socket.socket) -> None:
    """Talks to one client until it hangs up."""
    while head := client.recv(24, socket.MSG_WAITALL):
        command, kind, _, length = struct.unpack_from("<4sIII", head)
        client.recv(length, socket.MSG_WAITALL)
        if command == AUTH and kind == PUBLIC_KEY:
            continue  # on a phone, a dialogue is on the screen now, and nobody looks at it
        token = os.urandom(20)
        magic = struct.unpack("<I", AUTH)[0] ^ 0xFFFFFFFF
        client.sendall(struct.pack("<4sIIIII", AUTH, TOKEN, 0, len(token), sum(token), magic) + token)


def main() -> None:
    """Serves on the port in the first argument, one client at a time."""
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
        print("locked", flush=True)
        while True:
            with server.accept()[0] as client:
                answer(client)


if __name__ == "__main__":
    main()
