"""How large a table becomes when it is unpacked, found out before it is, from what its bytes announce.

What belongs here: reading the heads of Arrow messages and of Parquet pages, and refusing. What does not: the rows
(`rows`, `scoring`), or how large a body may be (`bodies`).

Arrow and Parquet believe what a body announces, and a few kilobytes can announce gigabytes. pyarrow neither tells these
numbers nor takes a limit, so they are read here: flatbuffers and Thrift's compact protocol, each as far as is needed.
Unpacking fails at what is larger than it was announced, so nobody gains by announcing too little.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from weather_platform.serving.contract import MAX_BATCH_ROWS, RequestRefusedError

MAX_UNPACKED_BYTES = 64 * 2**20
"""Of all pages of a Parquet file. The widest table that is taken, rows of features, has 16 MB."""

MAX_HEAD_BYTES = 2**20
"""Of the footer of a Parquet file and the metadata of an Arrow message, which in memory are up to a hundred times as
much, and of an Arrow dictionary, which is looked through for every batch."""

MAX_MESSAGES = 2_000
"""Of an Arrow stream: dictionaries and batches, which cost time and memory even if they hold no rows."""

MAX_PAGES = 20_000
"""Of a Parquet file, in all columns: two for each that its footer has room for."""

_ENCODINGS = {
    0: "PLAIN", 2: "PLAIN_DICTIONARY", 3: "RLE", 4: "BIT_PACKED", 5: "DELTA_BINARY_PACKED", 8: "RLE_DICTIONARY",
    9: "BYTE_STREAM_SPLIT",
}  # fmt: skip
"""Encodings whose values are in their page or its dictionary. With the others a value may repeat what was before it."""


def require_plain_stream(body: bytes) -> None:
    """Refuse an Arrow stream that is more in memory than its bytes. ArrowException, ValueError: it cannot be read."""
    for number, message in enumerate(pa.ipc.MessageReader.open_stream(body), 1):
        if number > MAX_MESSAGES:
            raise RequestRefusedError(
                413, f"the Arrow stream has more than {MAX_MESSAGES:,} messages; send larger batches"
            )
        dictionary_bytes = message.body.size if message.type == "dictionary" else 0
        if max(message.metadata.size, dictionary_bytes) > MAX_HEAD_BYTES:
            raise RequestRefusedError(
                413, f"metadata or a dictionary of the Arrow stream has more than {MAX_HEAD_BYTES:,} bytes"
            )
        try:
            _require_plain(message.type, message.metadata.to_pybytes())
        except (struct.error, IndexError):
            raise ValueError("the head of a message cannot be read") from None


def _require_plain(kind: str, head: bytes) -> None:
    """Refuse a message whose content is not as it stands in the body. For the fields see Message.fbs and Schema.fbs."""
    at = _field(head, _table(head, 0), 2)
    if at is None:
        return  # pyarrow refuses it
    content = _table(head, at)
    if kind == "schema":
        if (endianness := _field(head, content, 0)) is not None and head[endianness]:
            raise RequestRefusedError(415, "the Arrow stream is big-endian; write it little-endian")
        return
    if kind == "dictionary":
        if (is_delta := _field(head, content, 2)) is not None and head[is_delta]:
            raise RequestRefusedError(415, "a dictionary of the Arrow stream grows; write it without deltas")
        at = _field(head, content, 1)
        if at is None:
            return
        content = _table(head, at)
    if _field(head, content, 3) is not None:
        raise RequestRefusedError(415, "the Arrow stream is compressed; write it without, or send a Parquet file")


def _table(head: bytes, reference: int) -> int:
    """Where the table of a flatbuffer is that is referred to here."""
    return reference + int(struct.unpack_from("<I", head, reference)[0])


def _field(head: bytes, table: int, number: int) -> int | None:
    """Where a field of a table is; None if it is not given."""
    offsets = table - int(struct.unpack_from("<i", head, table)[0])
    size = int(struct.unpack_from("<H", head, offsets)[0])
    here = 4 + 2 * number
    offset = int(struct.unpack_from("<H", head, offsets + here)[0]) if here < size else 0
    return table + offset if offset else None


def parquet_metadata(body: bytes) -> pq.FileMetaData:
    """The footer of a Parquet file. ArrowException, OSError: it cannot be read."""
    if int.from_bytes(body[-8:-4], "little") > MAX_HEAD_BYTES and body.endswith(b"PAR1"):
        raise RequestRefusedError(413, f"the Parquet file has a footer of more than {MAX_HEAD_BYTES:,} bytes")
    return pq.read_metadata(pa.BufferReader(body))


def require_small_pages(body: bytes) -> None:
    """Refuse a Parquet file that unpacks to too much, or to too many rows. ValueError: it cannot be read."""
    unpacked = pages = rows = 0
    for group in _row_groups(body):
        rows += group.rows
        if rows > MAX_BATCH_ROWS:
            raise _too_large(f"more than {MAX_BATCH_ROWS:,} rows")
        for column in group.columns:
            # As Arrow walks over the pages: until it has all values.
            at, left = column.begin, column.values
            while left > 0:
                page = _page(body, at)
                pages += 1
                unpacked += page.unpacked_bytes
                if unpacked > MAX_UNPACKED_BYTES or pages > MAX_PAGES:
                    raise _too_large(f"more than {MAX_UNPACKED_BYTES:,} bytes unpacked, or {MAX_PAGES:,} pages")
                if page.values > MAX_BATCH_ROWS:
                    raise _too_large(f"a page of more than {MAX_BATCH_ROWS:,} values")
                if page.encoding not in _ENCODINGS:
                    said = ", ".join(_ENCODINGS.values())
                    raise RequestRefusedError(
                        415, f"the encoding of {column.name[:100]} is not taken; write it as one of {said}"
                    )
                left -= 0 if page.is_dictionary else page.values
                at = page.end


def _too_large(what: str) -> RequestRefusedError:
    return RequestRefusedError(413, f"the Parquet file has {what}")


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of a row group."""

    name: str
    values: int
    begin: int


@dataclass(frozen=True, slots=True)
class _RowGroup:
    rows: int
    columns: list[_Column]


@dataclass(frozen=True, slots=True)
class _Page:
    unpacked_bytes: int
    values: int
    encoding: int
    is_dictionary: bool
    end: int


_TRUE_FALSE = 1, 2
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12
"""Types of Thrift's compact protocol. The numbers of fields are those of parquet.thrift."""

_ELEMENTS = {
    (2,): _STRUCT, (4,): _STRUCT, (5,): _STRUCT, (7,): _STRUCT, (4, 1): _STRUCT, (4, 4): _STRUCT,
    (4, 1, 3, 2): _I32, (4, 1, 3, 3): _BINARY, (4, 1, 3, 8): _STRUCT, (4, 1, 3, 13): _STRUCT,
    (4, 1, 3, 16, 2): _I64, (4, 1, 3, 16, 3): _I64, (4, 1, 3, 17, 2): _I32, (4, 1, 8, 2, 1): _BINARY,
}  # fmt: skip
"""What the lists of a footer hold, by the fields on the way to them."""

_DEEPEST = 8
"""So many structs lie in one another in a footer at most."""

_PAGES = {0: (5, 2), 2: (7, 2), 3: (8, 4)}
"""By type of a page, which is data, a dictionary or data of version 2: the field of what its head says of it, and the
field of the encoding in there."""


def _row_groups(body: bytes) -> list[_RowGroup]:
    """What the footer says. pyarrow would tell it too, but its accessors end the process on some faulty footers."""
    try:
        footer = _Compact(body, len(body) - 8 - int.from_bytes(body[-8:-4], "little")).struct()
        return [
            _RowGroup(group[3, _I64], [_column(chunk[3, _STRUCT]) for chunk in group[1, _LIST]])
            for group in footer[4, _LIST]
        ]
    except (KeyError, IndexError):
        raise ValueError("the footer cannot be read") from None


def _column(about: Mapping[tuple[int, int], Any]) -> _Column:
    data, dictionary = about[9, _I64], about.get((11, _I64), 0)
    name = b".".join(about[3, _LIST]).decode(errors="replace")
    return _Column(name, about[5, _I64], dictionary if 0 < dictionary < data else data)


def _page(body: bytes, at: int) -> _Page:
    """What the head of the page at this place says."""
    compact = _Compact(body, at)
    try:
        head = compact.struct()
        kind, unpacked_bytes, packed_bytes = (head[number, _I32] for number in (1, 2, 3))
        own, encoding = _PAGES[kind]
        about = head[own, _STRUCT]
        values = about[1, _I32]
        end = compact.at + packed_bytes
        if min(at, values, unpacked_bytes, packed_bytes) < 0 or end > len(body):
            raise ValueError("a page is cut off")
        return _Page(unpacked_bytes, values, about[encoding, _I32], own == 7, end)
    except (KeyError, IndexError):
        raise ValueError("the head of a page cannot be read") from None


class _Compact:
    """Reads Thrift's compact protocol. IndexError at the end of the body."""

    def __init__(self, body: bytes, at: int) -> None:
        self._body = body
        self.at = at

    def struct(self, path: tuple[int, ...] = ()) -> dict[tuple[int, int], Any]:
        """Values by field and type: as for Arrow, a field that has another type than it should is not there."""
        fields: dict[tuple[int, int], Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            if not 0 < number < 2**15 or len(path) > _DEEPEST:
                raise ValueError("there is no such field in a Parquet file")
            kind = head & 15
            fields[number, kind] = None if kind in _TRUE_FALSE else self._value(kind, (*path, number))
        return fields

    def _value(self, kind: int, path: tuple[int, ...]) -> Any:
        match kind:
            case 4 | 5 | 6:  # of two, four and eight bytes
                return self._integer()
            case 3:
                return self._byte()
            case 7:
                return self._bytes(8)
            case 8:
                return self._bytes(self._varint())
            case 9:
                head = self._byte()
                element = head & 15
                # Arrow reads what it knows without a look at this type: nobody may say one thing and mean another.
                if element == _LIST or element != _ELEMENTS.get(path, element):
                    raise ValueError("a list of the footer has values of another type")
                length = head >> 4 if head >> 4 < 15 else self._varint()
                return [self._value(element, path) for _ in range(length)]
            case 12:
                return self.struct(path)
        raise ValueError(f"type {kind} of Thrift is not used in Parquet files")

    def _integer(self) -> int:
        packed = self._varint()
        return packed >> 1 ^ -(packed & 1)

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 64, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number is too long")

    def _byte(self) -> int:
        byte = self._body[self.at]
        self.at += 1
        return byte

    def _bytes(self, length: int) -> bytes:
        self.at += length
        if self.at > len(self._body):
            raise IndexError
        return self._body[self.at - length : self.at]
