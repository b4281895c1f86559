"""scikit-learn models as bytes that cannot execute code: skops files, made canonical.

What belongs here: writing an estimator so that the same model is the same bytes, and reading one that holds
nothing but the types its algorithm is known to need. What does not: fitting and predicting.

skops writes memory addresses, files named after them, the time of day and whatever lies between the fields of
a record. Here every node is numbered in the order of the file, equal arrays are stored once and named by
their first use, the gaps are zero, and nothing is compressed, so that no version of zlib is in the digest.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from weather_platform.errors import RegistryError

FILE_NAME = "model.skops"

_SCHEMA = "schema.json"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_NODES = frozenset({"DictNode", "JsonNode", "ListNode", "TupleNode", "TypeNode", "DTypeNode", "NdArrayNode"}) | {
    "ObjectNode", "TreeNode", "LossNode", "RandomGeneratorNode",
}  # fmt: skip
"""The ways of building an object that models need; ways that look up or call functions are not among them."""

_PLAIN_TYPES = frozenset(
    {f"builtins.{name}" for name in ("dict", "list", "tuple", "str")}
    | {f"numpy.{name}" for name in ("ndarray", "dtype", "float32", "float64", "int64", "uint64")}
)


def dump(estimator: Any) -> bytes:
    """The file of a fitted estimator. The same model gives the same bytes, in any process."""
    import skops.io

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(estimator))) as written:
        schema = json.loads(written.read(_SCHEMA))
        arrays: dict[bytes, str] = {}
        for number, node in enumerate(_nodes(schema)):
            node["__id__"] = number
            if "file" in node:
                array = _without_gaps(written.read(node["file"]))
                node["file"] = arrays.setdefault(array, f"{len(arrays)}.npy")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as canonical:
        text = json.dumps(schema, separators=(",", ":"))
        for name, content in ((_SCHEMA, text.encode()), *((name, array) for array, name in arrays.items())):
            member = zipfile.ZipInfo(name, _LONG_AGO)
            member.create_system = 3  # else it would name the operating system
            canonical.writestr(member, content)
    return buffer.getvalue()


def load(data: bytes, types: frozenset[str]) -> Any:
    """The estimator in a file whose digest has been verified; RegistryError unless it holds only these types.

    Verified first, because skops checks what a file is made of and not what it says: a tree that names a node it
    has not got is only found out by the forecast that goes there.
    """
    import skops.io

    known = types | _PLAIN_TYPES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            schema = json.loads(file.read(_SCHEMA))
        found = {(str(node["__loader__"]), f"{node['__module__']}.{node['__class__']}") for node in _nodes(schema)}
        unknown = sorted(name for loader, name in found if loader not in _NODES or name not in known)
        if not unknown:
            return skops.io.loads(data, trusted=sorted(known))
    except Exception as error:
        raise RegistryError(
            f"the model file cannot be read as a skops file ({type(error).__name__}); register the model again"
        ) from error
    raise RegistryError(
        f"the model file holds {', '.join(unknown)}, which no model of its algorithm holds; nothing was loaded"
    )


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object of a skops schema, in the order of the file."""
    if isinstance(schema, dict):
        if "__class__" in schema:
            yield schema
        for value in schema.values():
            yield from _nodes(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _nodes(value)


def _without_gaps(npy: bytes) -> bytes:
    """The array with zeros between its fields, where memory is whatever was there before."""
    array = np.load(io.BytesIO(npy), allow_pickle=False)
    if array.dtype.names is None:
        return npy
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    buffer = io.BytesIO()
    np.save(buffer, clean, allow_pickle=False)
    return buffer.getvalue()
