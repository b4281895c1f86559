"""Reading UBJSON, the format of XGBoost's model files, as far as those use it.

What belongs here: bytes in, plain values and arrays out. What does not: what the values mean (`flat_trees`).
"""

from typing import Any

import numpy as np

_NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_CONSTANTS = {b"Z": None, b"T": True, b"F": False}


def read_ubjson(data: bytes) -> Any:
    """The one value that the bytes hold; typed arrays come as arrays. ValueError for anything else."""
    try:
        value, end = _value(data, 0)
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(f"no UBJSON of the kind that XGBoost writes ({error!r})") from error
    if end != len(data):
        raise ValueError(f"the UBJSON value ends at byte {end} of {len(data)}")
    return value


def _value(data: bytes, at: int) -> tuple[Any, int]:
    kind = data[at : at + 1]
    if kind == b"{":
        return _object(data, at + 1)
    if kind == b"[":
        return _array(data, at + 1)
    if kind == b"S":
        return _text(data, at + 1)
    if kind in _CONSTANTS:
        return _CONSTANTS[kind], at + 1
    number = np.dtype(_NUMBERS[kind])
    return np.frombuffer(data, number, 1, at + 1)[0].item(), at + 1 + number.itemsize


def _object(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    while data[at] != ord("}"):
        name, at = _text(data, at)
        found[name], at = _value(data, at)
    return found, at + 1


def _array(data: bytes, at: int) -> tuple[Any, int]:
    if data[at] == ord("$"):
        number = np.dtype(_NUMBERS[data[at + 1 : at + 2]])
        count, at = _value(data, at + 3)
        array = np.frombuffer(data, number, count, at)
        return array.astype(number.newbyteorder("=")), at + array.nbytes
    found = []
    if data[at] == ord("#"):
        count, at = _value(data, at + 1)
        for _ in range(count):
            value, at = _value(data, at)
            found.append(value)
        return found, at
    while data[at] != ord("]"):
        value, at = _value(data, at)
        found.append(value)
    return found, at + 1


def _text(data: bytes, at: int) -> tuple[str, int]:
    length, at = _value(data, at)
    return data[at : at + length].decode(), at + length
