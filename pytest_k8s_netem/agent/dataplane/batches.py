"""Many frames with one call: recvmmsg(2) and sendmmsg(2) on memory that is laid out once and used again and again.

Numbers are read and written for the whole batch, by strides over that memory: nothing here is done frame by frame that
a slice can do, because half of what a frame costs is the interpreter.
"""

from __future__ import annotations

import array
import ctypes
import mmap
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    Arrival = tuple[int, memoryview | bytes]
    """When the kernel took the frame (CLOCK_REALTIME, ns), and the frame; a view lasts until the next reading."""

FRAME = (64 << 10) + 512
"""Bytes of the longest frame: a superpacket of 64 KiB, its headers included."""
SHORT = 2048
"""Bytes up to which a frame is cheaper copied than seen through a view, and worth waiting for others like it."""

_WORD = struct.calcsize("@L")
_VECTOR = struct.calcsize("@LL")
"""struct iovec: address, length."""
_HEADER = struct.Struct("@PIPNPNi0PI0P")
"""struct mmsghdr: name, its length, vectors, their number, control, its length, flags, bytes received."""
_FLAGS, _LENGTH = struct.calcsize("@PIPNPN"), struct.calcsize("@PIPNPNi0P")
_CONTROL = struct.Struct("@Niill0N")
"""struct cmsghdr and the struct timespec of SCM_TIMESTAMPNS."""
_SECONDS = struct.calcsize("@Nii") // _WORD

_receive = ctypes.CDLL(None).recvmmsg  # found here, so that a worker has them when it is forked
_receive.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
_send = ctypes.CDLL(None, use_errno=True).sendmmsg
_send.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]


class _Messages:
    """``count`` struct mmsghdr with one vector each."""

    def __init__(self, count: int, control: int = 0) -> None:
        self._vectors = bytearray(count * _VECTOR)
        self._headers = bytearray(count * _HEADER.size)
        self.vectors = memoryview(self._vectors).cast("L")
        self.headers = memoryview(self._headers).cast("I")
        self.address = _address(self._headers)
        vectors = _address(self._vectors)
        for at in range(count):
            known = control and control + at * _CONTROL.size, control and _CONTROL.size
            _HEADER.pack_into(self._headers, at * _HEADER.size, 0, 0, vectors + at * _VECTOR, 1, *known, 0, 0)


class Receiver:
    """Reads frames.

    :ivar left_out: frames longer than :data:`FRAME` that the last reading met.
    """

    SLOTS = 32

    def __init__(self) -> None:
        slots = self.SLOTS
        self.left_out = 0
        self._memory = mmap.mmap(-1, slots * FRAME)  # touched, and so resident, no further than frames reach
        self._view = memoryview(self._memory)
        self._control = bytearray(slots * _CONTROL.size)
        self._messages = _Messages(slots, _address(self._control))
        first = _address(self._memory)
        for slot in range(slots):
            self._messages.vectors[2 * slot], self._messages.vectors[2 * slot + 1] = first + slot * FRAME, FRAME
        stride = _HEADER.size // 4
        self._flags = self._messages.headers[_FLAGS // 4 :: stride]
        self._lengths = self._messages.headers[_LENGTH // 4 :: stride]
        words, stride = memoryview(self._control).cast("l"), _CONTROL.size // _WORD
        self._seconds, self._nanoseconds = words[_SECONDS::stride], words[_SECONDS + 1 :: stride]
        self._call = _receive

    def read(self, fd: int) -> list[Arrival]:
        """Up to :data:`SLOTS` frames that wait in a socket; none if none does, or its device has gone.

        A frame longer than :data:`FRAME` is left out, and counted.
        """
        self.left_out = 0
        count = self._call(fd, self._messages.address, self.SLOTS, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return []
        lengths, flags = self._lengths[:count].tolist(), self._flags[:count].tolist()
        seconds, nanoseconds = self._seconds[:count].tolist(), self._nanoseconds[:count].tolist()
        found: list[Arrival] = []
        start = 0
        for length, flag, second, nanosecond in zip(lengths, flags, seconds, nanoseconds, strict=True):
            if flag & socket.MSG_TRUNC:
                self.left_out += 1
            else:
                memory = self._memory if length <= SHORT else self._view
                found.append((second * 1_000_000_000 + nanosecond, memory[start : start + length]))
            start += FRAME
        return found


class Sender:
    """Sends frames."""

    MOST = 64

    def __init__(self) -> None:
        self._messages = _Messages(self.MOST)
        self._addresses = bytearray(self.MOST * _WORD)
        self._pointers = (ctypes.c_char_p * self.MOST).from_buffer(self._addresses)
        self._numbers = memoryview(self._addresses).cast("L")
        self._call = _send

    def send(self, fd: int, frames: list[bytes]) -> int:
        """Send up to :data:`MOST` frames; return how many went, which is all up to one that was refused.

        :raises OSError: if the first is refused.
        """
        count = len(frames)
        self._pointers[:count] = frames  # type: ignore[assignment] # bytes are taken for char pointers
        self._messages.vectors[0 : 2 * count : 2] = self._numbers[:count]
        self._messages.vectors[1 : 2 * count : 2] = memoryview(array.array("L", map(len, frames)))
        sent = self._call(fd, self._messages.address, count, socket.MSG_DONTWAIT)
        if sent < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"sendmmsg: error {code}")
        return int(sent)


def _address(memory: bytearray | mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
