"""The store of reports: a folder or an S3 bucket, whole files in, whole files out.

What belongs here: writing, reading, listing and deleting a file by its path. What does not: what a report is, and in
which order its parts are stored (`io_managers.reports`). It reaches S3 the way the lake does, through delta-rs.
"""

import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow.fs as pafs
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler

from weather_platform.errors import ReportError
from weather_platform.settings import Settings
from weather_platform.stores import access_keys


class ReportStore:
    """Files below one folder or one `s3://bucket/prefix`. A file is there whole or not at all."""

    def __init__(self, uri: str, storage_options: Mapping[str, str] | None = None) -> None:
        self.uri = uri.rstrip("/")
        self._storage_options = dict(storage_options or {})

    def __repr__(self) -> str:
        return f"ReportStore({self.uri!r})"

    @classmethod
    def from_settings(cls, settings: Settings) -> "ReportStore":
        """The store of these settings."""
        uri = settings.reports_uri if settings.reports_uri is not None else str(settings.home / "reports")
        if not uri.startswith("s3://"):
            return cls(uri)
        keys = access_keys(settings)
        return cls(uri, keys.options(settings.s3_endpoint_url, settings.s3_region))

    def address(self, path: str) -> str:
        """Where people find a file."""
        return f"{self.uri}/{path}"

    def write(self, path: str, data: bytes) -> None:
        """Store a file, replacing one of the same path."""
        with self._speaking_clearly(f"writing {path}"):
            if self._folder is None:
                # An object comes to be when its upload is completed. The buffer takes all of it, so that it goes up in
                # one piece; an upload that lost that piece is told by its size.
                bucket = self._bucket
                with bucket.open_output_stream(path, buffer_size=len(data) + 1) as stream:
                    stream.write(data)
                if (stored := bucket.get_file_info(path).size) != len(data):
                    raise OSError(f"{stored} of {len(data)} bytes arrived")
                return
            file = self._folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            scratch = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
            try:
                with scratch.open("wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                scratch.replace(file)
            finally:
                scratch.unlink(missing_ok=True)

    def read(self, path: str) -> bytes:
        """A stored file; ReportError when there is none."""
        with self._speaking_clearly(f"reading {path}"):
            if self._folder is not None:
                return (self._folder / path).read_bytes()
            with self._bucket.open_input_file(path) as stream:
                return bytes(stream.read())

    def names(self, folder: str) -> set[str]:
        """The paths of the files in a folder; none when there is no such folder."""
        with self._speaking_clearly(f"listing {folder}"):
            if self._folder is not None:
                return {f"{folder}/{file.name}" for file in (self._folder / folder).glob("*") if file.is_file()}
            found = self._bucket.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
            return {f"{folder}/{info.base_name}" for info in found if info.type == pafs.FileType.File}

    def delete(self, path: str) -> None:
        """Delete a file that is there."""
        with self._speaking_clearly(f"deleting {path}"):
            if self._folder is not None:
                (self._folder / path).unlink()
            else:
                self._bucket.delete_file(path)

    @property
    def _folder(self) -> Path | None:
        return None if "://" in self.uri else Path(self.uri)

    @property
    def _bucket(self) -> pafs.FileSystem:
        return pafs.PyFileSystem(DeltaStorageHandler(self.uri, self._storage_options))

    @contextmanager
    def _speaking_clearly(self, doing: str) -> Iterator[None]:
        """Turn a failure of the store into a ReportError of one line that holds no secret."""
        try:
            yield
        except (DeltaError, OSError) as error:
            text = " ".join(str(error).split())
            for name, value in self._storage_options.items():
                if value and re.search("key|secret|token", name, re.IGNORECASE):
                    text = text.replace(value, "***")
            said = f"{doing} of the reports at {self.uri} failed: {type(error).__name__}: {text}"
            # From None: the text of the original is not cleaned, so it must not be printed along.
            raise ReportError(f"{said}; check that the store is there and writable, then run again") from None
