"""What a process apart is given to do in tests; it loads nothing, so that such a process starts fast."""

import os
import pickle
import signal
import time
import zlib


class Panic(BaseException):
    """What a decoder written in Rust raises."""


def work(how, value=0):
    """Succeed, or fail in the way asked for."""
    if how in ("SIGSEGV", "SIGABRT", "SIGKILL"):
        os.kill(os.getpid(), signal.Signals[how])
    elif how == "compute":
        while True:
            pass
    elif how == "sleep":
        time.sleep(60)
    elif how == "memory":
        return len(bytes(60 * 2**20))
    elif how == "inflate":  # a bomb: C code that asks for memory piece by piece
        return len(zlib.decompress(value))
    elif how == "panic":
        raise Panic("PATIENT^NAME")
    elif how == "leave":
        os._exit(3)
    elif how == "say":
        print("PATIENT^NAME", flush=True)
        os.write(2, b"PATIENT^NAME\n")
    return value


def once(mark):
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "second"


def buffers(*sizes):
    """Memory that a pickle need not hold; each is filled with its place's number."""
    return [pickle.PickleBuffer(bytearray([place]) * size) for place, size in enumerate(sizes, 1)]
