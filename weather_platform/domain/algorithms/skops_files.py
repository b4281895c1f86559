"""scikit-learn models as bytes that cannot execute code: skops files, made canonical.

What belongs here: writing an estimator so that the same model is the same bytes, and reading one that holds
nothing but the types its algorithm is known to need: made again by skops (`load`), or only what it holds (`read`),
which needs neither skops nor scikit-learn. What does not: fitting and predicting.

skops writes memory addresses, files named after them, the time of day and whatever lies between the fields of
a record. Here every node is numbered in the order of the file, equal arrays are stored once and named by
their first use, the gaps are zero, and nothing is compressed, so that no version of zlib is in the digest.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from weather_platform.errors import RegistryError

FILE_NAME = "model.skops"

_SCHEMA = "schema.json"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_NODES = frozenset({"DictNode", "JsonNode", "ListNode", "TupleNode", "TypeNode", "DTypeNode", "NdArrayNode"}) | {
    "ObjectNode", "TreeNode", "LossNode", "RandomGeneratorNode",
}  # fmt: skip
"""The ways of building an object that models need; ways that look up or call functions are not among them."""

_T = TypeVar("_T")

_ARRAYS = frozenset(f"numpy.{name}" for name in ("ndarray", "float32", "float64", "int64", "uint64"))
_PLAIN_TYPES = _ARRAYS | {f"builtins.{name}" for name in ("dict", "list", "tuple", "str")} | {"numpy.dtype"}


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
    return _checked(
        data, dict.fromkeys(_NODES, known), lambda _file, _schema: skops.io.loads(data, trusted=sorted(known))
    )


@dataclass(frozen=True, slots=True)
class Unmade:
    """An object of a file: the name of its class and what it holds. Nothing of that class was imported."""

    name: str
    state: Mapping[str, Any]

    def part(self, attribute: str, name: str) -> "Unmade":
        """The object of this class in an attribute."""
        found = self.state.get(attribute)
        if not isinstance(found, Unmade) or found.name != name:
            raise unfit(f"a {self.name} whose {attribute} is no {name}")
        return found

    def array(self, attribute: str, *types: type[np.number]) -> NDArray[Any]:
        """The array of numbers of one of these types in an attribute."""
        found = self.state.get(attribute)
        if not isinstance(found, np.ndarray) or found.dtype not in types:
            names = " or ".join(each.__name__ for each in types)
            raise unfit(f"a {self.name} whose {attribute} is no array of {names}")
        return found


def unfit(what: str) -> RegistryError:
    """For a file that can be read and holds something else than its algorithm needs."""
    return RegistryError(f"the model file holds {what}; register the model again")


def read(data: bytes, types: frozenset[str]) -> Unmade:
    """What the file of one object of these types holds, its arrays read-only; RegistryError as of `load`."""
    return _checked(data, {**_READABLE, "ObjectNode": types}, _read)


def _checked(data: bytes, known: Mapping[str, frozenset[str]], then: Callable[[zipfile.ZipFile, Any], _T]) -> _T:
    """What is made of a file and its schema if every node is built in a known way, of a type known for that way."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            schema = json.loads(file.read(_SCHEMA))
            found = {(str(node["__loader__"]), f"{node['__module__']}.{node['__class__']}") for node in _nodes(schema)}
            unknown = sorted(name for loader, name in found if name not in known.get(loader, ()))
            if not unknown:
                return then(file, schema)
    except Exception as error:
        raise RegistryError(
            f"the model file cannot be read as a skops file ({type(error).__name__}); register the model again"
        ) from error
    raise RegistryError(
        f"the model file holds {', '.join(unknown)}, which no model of its algorithm holds; nothing was loaded"
    )


_PROTOCOLS = (0, 1, 2)
"""Versions of skops' format; in all of them what is read here is written alike."""

_READABLE: Mapping[str, frozenset[str]] = {
    "DictNode": frozenset({"builtins.dict"}),
    "ListNode": frozenset({"builtins.list"}),
    "TupleNode": frozenset({"builtins.tuple"}),
    "JsonNode": frozenset({"builtins.str"}),
    "TypeNode": frozenset({"builtins.str"}),
    "DTypeNode": frozenset({"numpy.dtype"}),
    "NdArrayNode": _ARRAYS,
}
"""Ways of building that give plain values, each with the types that it gives."""


def _read(file: zipfile.ZipFile, schema: Any) -> Unmade:
    """Two nodes of one number would be one object to skops, and two here: only files in canonical form are read."""
    if any(node["__id__"] != number for number, node in enumerate(_nodes(schema))):
        raise ValueError("the nodes are not numbered in their order")
    if type(schema["protocol"]) is not int or schema["protocol"] not in _PROTOCOLS:
        raise ValueError(f"written in another protocol than {_PROTOCOLS}")
    found = _value(file, schema)
    if not isinstance(found, Unmade):
        raise TypeError("a model is an object")
    return found


def _value(file: zipfile.ZipFile, node: dict[str, Any]) -> Any:
    """What a node says, unmade and unchangeable. Without a class it would not have been looked at before."""
    name = node["__class__"]
    match node["__loader__"]:
        case "JsonNode":
            if not isinstance(value := json.loads(node["content"]), (list, dict)):
                return value
        case "ListNode" | "TupleNode":
            return tuple(_value(file, each) for each in _a(list, node["content"]))
        case "DictNode":
            return _mapping(file, node)
        case "NdArrayNode":
            return _array(file, node)
        case "DTypeNode":
            return _a(np.ndarray, _value(file, node["content"])).dtype
        case "ObjectNode":
            return Unmade(name, _a(MappingProxyType, _value(file, node["content"])))
    raise ValueError(f"a {name} that stands for no value")


def _mapping(file: zipfile.ZipFile, node: dict[str, Any]) -> Mapping[str, Any]:
    """A dict of texts. skops leaves out what it is told no type of key for, so there is one for each."""
    content, keys = _a(dict, node["content"]), node["key_types"]
    types = [key["__loader__"] for key in keys["content"]]
    if keys["__loader__"] != "ListNode" or types != ["TypeNode"] * len(content):
        raise ValueError("a dict whose keys are not all told to be texts")
    return MappingProxyType({key: _value(file, each) for key, each in content.items()})


def _array(file: zipfile.ZipFile, node: dict[str, Any]) -> Any:
    """An array, or the one number of a numpy type as an array without dimensions; a list of objects is a tuple."""
    if node["type"] == "json":
        items = tuple(_value(file, each) for each in _a(list, node["content"]))
        if node["__class__"] != "ndarray" or _value(file, node["shape"]) != (len(items),):
            raise ValueError("an array of objects that is no list")
        return items
    npy = io.BytesIO(file.read(node["file"]))
    array = np.lib.format.read_array(npy, allow_pickle=False)
    scalar = node["__class__"] != "ndarray"
    if node["type"] != "numpy" or npy.read() or (scalar and (array.ndim, array.dtype.name) != (0, node["__class__"])):
        raise ValueError("an array that is not what its node says")
    array.flags.writeable = False
    return array


def _a(type_: type[_T], value: object) -> _T:
    """The value, which has to be of this type."""
    if not isinstance(value, type_):
        raise TypeError(f"a {type(value).__name__} where a {type_.__name__} belongs")
    return value


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
