"""A model in one file: it comes out as it went in, and every check refuses what it is there for."""

import io
import json
import struct
import zipfile
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest

from weather_platform.domain import model_archive
from weather_platform.domain.canary import GOLDEN_FILE, golden_bytes
from weather_platform.domain.features import feature_names
from weather_platform.domain.matured import References
from weather_platform.domain.model_archive import (
    MANIFEST_FILE,
    REFERENCES_FILE,
    PackedStation,
    packed,
    unpacked,
)
from weather_platform.domain.training import CONTRACT_FILE, GoldenSample, Predictor
from weather_platform.errors import ArchiveError
from weather_platform_tests.model_archives import (
    Entries,
    archive,
    contract_with,
    entries,
    files,
    forged,
    manifest,
    manifest_with,
    references,
    trained,
    zipped,
)

MODEL_FILE = "model.ubj"


def test_a_model_comes_out_as_it_went_in_and_forecasts_the_same_bytes() -> None:
    found, model = unpacked(archive()), trained()
    assert dict(found.files) == files()
    assert found.manifest.digest == model.digest
    assert found.contract == model.contract
    predictor = Predictor.load(found.files[CONTRACT_FILE], found.files[MODEL_FILE], digest=found.manifest.digest)
    rows = model.golden.values
    assert predictor.predict(rows).value.tobytes() == model.predictor.predict(rows).value.tobytes()


def test_the_same_model_gives_the_same_file() -> None:
    assert packed(manifest(), files()) == archive()


def test_an_archive_holds_no_code_and_nothing_compressed() -> None:
    with zipfile.ZipFile(io.BytesIO(archive())) as opened:
        infos = opened.infolist()
    assert sorted(info.filename for info in infos) == sorted([MANIFEST_FILE, *files()])
    assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}


def test_references_come_out_with_the_same_bits() -> None:
    before, after = references(), References.from_bytes(references().to_bytes())
    station = pa.chunked_array([["Albury", "Perth", "Nowhere"]])
    day, today = np.array([5, 200, 300], np.int32), np.array([0, np.nan, 1], np.float32)
    assert after.station_ids == before.station_ids
    for name, values in before.forecasts(station, day, today).items():
        assert values.tobytes() == after.forecasts(station, day, today)[name].tobytes()


def _changed(name: str) -> Callable[[Entries], None]:
    def spoil(content: Entries) -> None:
        content[name] = content[name][:-9] + bytes([content[name][-9] ^ 1]) + content[name][-8:]

    return spoil


@pytest.mark.parametrize("name", [CONTRACT_FILE, MODEL_FILE, GOLDEN_FILE, REFERENCES_FILE])
def test_a_file_that_was_altered_is_refused(name: str) -> None:
    content = entries(archive())
    _changed(name)(content)
    with pytest.raises(ArchiveError, match=f"{name} has SHA-256 .*is recorded; the file was altered"):
        unpacked(zipped(content))


def _other_golden(content: Entries) -> None:
    sample = trained().golden
    content[GOLDEN_FILE] = golden_bytes(
        GoldenSample(sample.values, np.nextafter(sample.expected, 1)), tuple(feature_names())
    )


def _text_golden(content: Entries) -> None:
    names = [*feature_names(), "expected"]
    table = pa.table({name: ["no number"] for name in names})
    sink = pa.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    content[GOLDEN_FILE] = sink.getvalue().to_pybytes()


def _with(name: str, data: bytes) -> Callable[[Entries], None]:
    return lambda content: content.update({name: data})


def _without_metric(content: Entries) -> None:
    metrics = json.loads(content[MANIFEST_FILE])["metrics"]
    manifest_with(metrics={name: value for name, value in metrics.items() if name != "test_f1"})(content)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_with(CONTRACT_FILE, b"{}"), "the model's contract has SHA-256|has format None"),
        (_changed(MODEL_FILE), "model.ubj has SHA-256"),
        (_other_golden, "does not reproduce its recorded test predictions"),
        (_text_golden, "holds other types than numbers"),
        (_with(GOLDEN_FILE, b"no Arrow"), "is no Arrow file"),
        (contract_with(feature_version="1999"), "trained on features of version '1999', and this code makes version"),
        (contract_with(feature_names=list(feature_names())[::-1]), "name different features|names and order"),
        (contract_with(target="hail_tomorrow"), "it is a model of 'hail_tomorrow'"),
        (contract_with(unit="mm"), "rain_tomorrow is classification in"),
        (contract_with(algorithm="magic"), "made by 'magic', which this code does not know"),
        (contract_with(model_file="model.pkl"), "speaks of 'model.pkl', which is not in the file"),
        (contract_with(tuned_through="yesterday"), "cannot be read"),
        (contract_with(format="another"), "has format 'another'"),
        (manifest_with(target="max_temp_tomorrow"), "it is a model of 'rain_tomorrow'"),
        (manifest_with(format="weather-platform/model-archive/9"), "format"),
        (manifest_with(surprise=1), "surprise"),
        (manifest_with(year="next"), "year"),
        (manifest_with(params={"seed": "1"}), "does not say threads"),
        (_without_metric, "does not say test_f1"),
        (manifest_with(metrics={"test_f1": "nan"}), "metrics"),
        (_with(REFERENCES_FILE, b'{"station_ids": [], "fitted": {}}'), "the references of the model cannot be used"),
        (_with(REFERENCES_FILE, b"[" * 100_000), "cannot be read|cannot be used"),
    ],
)  # fmt: skip
def test_a_model_that_does_not_belong_here_is_refused_however_well_its_digests_fit(
    spoil: Callable[[Entries], None], said: str
) -> None:
    with pytest.raises(ArchiveError, match=said) as caught:
        unpacked(forged(spoil))
    assert "\n" not in str(caught.value)


def test_forging_alone_spoils_nothing() -> None:
    assert unpacked(forged(lambda _: None)).manifest.digest == trained().digest


def test_a_manifest_that_is_no_json_is_refused() -> None:
    content = entries(archive()) | {MANIFEST_FILE: b"{"}
    with pytest.raises(ArchiveError, match=r"manifest\.json cannot be used"):
        unpacked(zipped(content))


def test_a_manifest_of_other_files_is_refused() -> None:
    content = entries(archive())
    told = json.loads(content[MANIFEST_FILE])
    del told["sha256"][GOLDEN_FILE]
    with pytest.raises(ArchiveError, match="names other files than there are"):
        unpacked(zipped(content | {MANIFEST_FILE: json.dumps(told).encode()}))


@pytest.mark.parametrize("name", ["../evil", "/etc/cron.d/evil", "a/b", "..\\evil", "code.py", "model.pkl", "x/"])
def test_any_other_name_is_refused_before_anything_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> bytes:
        raise AssertionError("an entry was read")

    monkeypatch.setattr(zipfile.ZipFile, "read", read)
    with pytest.raises(ArchiveError, match="which no export writes; nothing was read"):
        unpacked(zipped(dict.fromkeys([MANIFEST_FILE, *files()], b"") | {name: b""}))


@pytest.mark.parametrize("missing", [MANIFEST_FILE, CONTRACT_FILE, MODEL_FILE, GOLDEN_FILE, REFERENCES_FILE])
def test_a_missing_file_is_refused(missing: str) -> None:
    content = entries(archive())
    del content[missing]
    with pytest.raises(ArchiveError, match=r"it must hold .* each once"):
        unpacked(zipped(content))


def test_two_model_files_are_refused() -> None:
    with pytest.raises(ArchiveError, match="one model file, each once"):
        unpacked(zipped(entries(archive()) | {"model.skops": b""}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused() -> None:
    buffer = io.BytesIO(archive())
    with zipfile.ZipFile(buffer, "a") as opened:
        opened.writestr(CONTRACT_FILE, b"{}")
    with pytest.raises(ArchiveError, match="each once"):
        unpacked(buffer.getvalue())


def test_a_zip_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> bytes:
        raise AssertionError("it was unpacked")

    bomb = zipped(entries(archive()) | {MODEL_FILE: bytes(64 << 20)}, zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(zipfile.ZipFile, "read", read)
    assert len(bomb) < 1 << 20
    with pytest.raises(ArchiveError, match="it was packed again"):
        unpacked(bomb)


def test_sizes_that_are_larger_than_the_file_are_refused() -> None:
    data = bytearray(archive())
    at = data.rindex(b"PK\x01\x02")  # the last entry of the directory
    data[at + 20 : at + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    with pytest.raises(ArchiveError, match="its entries overlap"):
        unpacked(bytes(data))


def test_more_bytes_than_a_model_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_archive, "ARCHIVE_MAX_BYTES", len(archive()) - 1)
    with pytest.raises(ArchiveError, match="no model is that large"):
        unpacked(archive())
    monkeypatch.setattr(model_archive, "ARCHIVE_MAX_BYTES", len(archive()))
    assert unpacked(archive())


@pytest.mark.parametrize("data", [b"", b"no zip", archive()[:-100], archive()[:1000]], ids=["", "text", "cut", "head"])
def test_a_file_that_is_no_whole_archive_is_refused(data: bytes) -> None:
    with pytest.raises(ArchiveError, match="it is no whole model archive"):
        unpacked(data)


def test_stations_are_known_by_their_place() -> None:
    found = unpacked(archive())
    here = [PackedStation(**station) for station in manifest()["stations"]]
    assert found.unknown_stations(here) == []
    new = here[0].model_copy(update={"id": "Elsewhere"})
    assert found.unknown_stations([*here, new]) == ["Elsewhere"]
    moved = here[0].model_copy(update={"latitude_deg": -10.0})
    with pytest.raises(ArchiveError, match=f"have the name and not the place .*first: {here[0].id}"):
        found.unknown_stations([moved, *here[1:]])
