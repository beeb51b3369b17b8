"""Pickles are read as data: what Python's own unpickler would run must not run here."""

import contextlib
import os
import pickle
import pickletools
import struct
import subprocess
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitools._validation import FileFormatError
from mitools.data.inert_pickle import read_pickle

PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 12)
BATCH = {"data": PIXELS, "labels": [3, 9], "batch_label": "one", "filenames": ["a", "b"]}

# Empty bytes are left out: before protocol 3 Python writes them as a call of bytes, refused here.
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text() | st.binary(min_size=1)
    | st.floats(allow_nan=False),
    lambda part: st.lists(part) | st.tuples(part, part) | st.dictionaries(st.text(), part),
    max_leaves=20,
)  # fmt: skip


@given(value=plain, protocol=st.integers(2, 5))
def test_plain_values_come_back(value, protocol):
    assert read_pickle(pickle.dumps(value, protocol), "file") == value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("old", [False, True], ids=["numpy 2's names", "numpy 1's names"])
def test_a_batch_of_bytes_comes_back(protocol, old):
    content = pickle.dumps(BATCH, protocol)
    if old:  # the module was called numpy.core; frames count bytes, so cut them out of the way
        content = pickletools.optimize(content) if protocol < 4 else pickle.dumps(BATCH, 2)
        content = content.replace(b"numpy._core", b"numpy.core")
    read = read_pickle(content, "file")
    np.testing.assert_array_equal(read["data"], PIXELS)
    assert read["data"].dtype == np.uint8
    assert {k: v for k, v in read.items() if k != "data"} == {
        k: v for k, v in BATCH.items() if k != "data"
    }


def test_a_pickle_of_python_2_comes_back():
    """The opcodes of the official files, written by hand: byte strings, and numpy 1's names."""

    def text(s: bytes) -> bytes:
        return b"U" + bytes([len(s)]) + s

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85"
        + text(b"b") + b"\x87Rq\x03(K\x01K\x02K\x0c\x86cnumpy\ndtype\nq\x04" + text(b"u1")
        + b"K\x00K\x01\x87Rq\x05(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        + b"K\x00tb\x89T" + struct.pack("<i", 24) + PIXELS.tobytes() + b"tb"
    )  # fmt: skip
    labels = b"]q\x06(K\x03K\x09e"
    content = b"\x80\x02}q\x00(" + text(b"data") + array + text(b"labels") + labels + b"u."
    assert pickle.loads(content, encoding="latin1")["labels"] == [3, 9]  # it is a pickle
    read = read_pickle(content, "file")
    np.testing.assert_array_equal(read["data"], PIXELS)
    assert read["labels"] == [3, 9]


class Evil:
    """Unpickles by calling whatever it was given."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Stateful:
    def __getstate__(self):
        return {"__class__": "other"}


ran: list[str] = []

MALICIOUS = {
    "os.system": Evil(os.system, "touch pwned"),
    "subprocess": Evil(subprocess.Popen, ["touch", "pwned"]),
    "eval": Evil(eval, "__import__('os').system('touch pwned')"),
    "this module": Evil(ran.append, "x"),
    "getattr": Evil(getattr, "x", "y"),
    "numpy's loader": Evil(np.load, "pwned.npy"),
    "an object's state": Stateful(),
    "a class": os.PathLike,
    "innocent but needless": OrderedDict(a=1),
    "a set": {1, 2},
    "an array of objects": np.array([Evil(os.system, "touch pwned")], dtype=object),
    "an array of floats": np.zeros(3),
    "a structured array": np.zeros(3, "u1,u1"),
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("value", MALICIOUS.values(), ids=MALICIOUS)
@pytest.mark.parametrize("inside", [False, True])
def test_nothing_else_is_admitted_and_nothing_runs(value, protocol, inside, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({**BATCH, "labels": [value]} if inside else value, protocol)
    with pytest.raises(
        FileFormatError, match=r"plain values and byte arrays.*Nothing in it was run"
    ):
        read_pickle(content, "data_batch_1")
    assert not list(tmp_path.iterdir()) and not ran


HAND_MADE = {
    "protocol 0": b"cos\nsystem\n(S'touch pwned'\ntR.",
    "INST": b"(S'touch pwned'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nU\x0btouch pwnedo.",
    "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0bndarray.dump\x93.",
    "persistent id": b"\x80\x02U\x01xQ.",
    "extension registry": b"\x80\x02\x82\x01.",
    "calls a text": b"\x80\x02U\x01x)R.",
    "calls the array class": b"\x80\x02cnumpy\nndarray\nK\x05\x85R.",
    "array of another class": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\n\x85R."
    ),
    "state of a dictionary": b"\x80\x02}}b.",
    "state of a name": b"\x80\x02cnumpy\nndarray\n}b.",
    "encodes as something else": b"\x80\x02c_codecs\nencode\nU\x01xU\x05rot13\x86R.",
    "out-of-band buffer": b"\x80\x05\x97.",
}


@pytest.mark.parametrize("content", HAND_MADE.values(), ids=HAND_MADE)
def test_hand_made_pickles_are_refused(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileFormatError):
        read_pickle(content, "file")
    assert not list(tmp_path.iterdir())


BROKEN = {
    "empty": b"",
    "text": b"<!DOCTYPE html>",
    "no end": pickle.dumps(BATCH, 2)[:-1],
    "cut short": pickle.dumps(BATCH, 2)[:150],
    "empty stack": b"\x80\x02.",
    "missing memo": b"\x80\x02h\x05.",
    "missing mark": b"\x80\x02K\x01t.",
    "unhashable key": b"\x80\x02}]K\x01s.",
    "appends to a number": b"\x80\x02K\x05K\x05a.",
    "odd items": b"\x80\x02}(U\x01au.",
    "promises 2 GB": b"\x80\x02T\xff\xff\xff\x7fabc.",
    "huge memo index": b"\x80\x02r\xff\xff\xff\xff.",
    "too few pixels": pickle.dumps(BATCH, 2).replace(b"K\x02K\x0c", b"K\x02K\x0d"),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_pickles_are_named(content):
    with pytest.raises(FileFormatError, match="data_batch_1 must be a"):
        read_pickle(content, "data_batch_1")


@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), protocol=st.sampled_from([2, 4, 5]))
def test_one_wrong_byte_never_escapes(at, byte, protocol):
    content = bytearray(pickle.dumps(BATCH, protocol))
    content[at % len(content)] = byte
    with contextlib.suppress(FileFormatError):
        read_pickle(bytes(content), "file")


def test_values_that_hold_themselves_do_no_harm():
    loop: list = []
    loop.append(loop)
    read = read_pickle(pickle.dumps(loop, 2), "file")
    assert read[0] is read
