"""Which station a raw row is of: number, then product, then name with its state; and never a similar one."""

import pyarrow as pa
import pytest

from weather_platform.domain.bureau import PLACES
from weather_platform.domain.recognition import (
    STATION_COLUMNS,
    Recognised,
    Recogniser,
    StationText,
    clash,
    in_words,
)
from weather_platform.domain.stations import STATIONS, Station
from weather_platform.errors import InvariantError

SHIPPED = Recogniser(STATIONS)
DE_BILT = Station("DeBilt", "Netherlands", 52.1, 5.18, 2, "Europe/Amsterdam", "De Bilt")
RICHMOND_QLD = Station("RichmondQLD", "QLD", -20.7, 143.11, 206, "Australia/Brisbane", "Richmond")


def named(name: str, state: str | None = None, stations: Recogniser = SHIPPED) -> str | None:
    found = stations.recognise(StationText(name, state))
    return None if found is None else found.id


def test_every_station_of_the_catalogue_is_found_by_each_number_product_and_name_of_its_place() -> None:
    assert set(PLACES) == {station.id for station in STATIONS}
    for id_, place in PLACES.items():
        for site in place.sites:
            assert SHIPPED.recognise(StationText(None, numbers=site.number)) == Recognised(id_, "number")
        for product in place.products:
            assert SHIPPED.recognise(StationText(None, product=product)) == Recognised(id_, "product")
        for name in (id_, place.name, *(site.name for site in place.sites), *place.also):
            assert SHIPPED.recognise(StationText(name)) == Recognised(id_, "name"), name


def test_no_number_and_no_product_is_of_two_places() -> None:
    numbers = [site.number for place in PLACES.values() for site in place.sites]
    products = [product for place in PLACES.values() for product in place.products]
    assert len(set(numbers)) == len(numbers)
    assert len(set(products)) == len(products)
    assert all(len(number) == 6 and number.isdecimal() for number in numbers)


@pytest.mark.parametrize(
    ("name", "state", "station"),
    [
        ("Albury-Wodonga", None, "Albury"),
        ("Melbourne (Olympic Park)", "Victoria", "Melbourne"),
        ("Adelaide (West Terrace / Ngayirdapira)", "South Australia", "Adelaide"),
        ("Pearce RAAF Base", "Western Australia", "PearceRAAF"),
        ("Tindal RAAF", "Northern Territory", "Katherine"),
        ("Yulara", "Northern Territory", "Uluru"),
        ("Bellambi", "New South Wales", "Wollongong"),
        ("Witchcliffe (Margaret River District)", "Western Australia", "Witchcliffe"),
        ("NHILL", "Victoria", "Nhil"),
        ("Nhil", None, "Nhil"),
        ("Norfolk Island", "External Territory", "NorfolkIsland"),
        ("Richmond", "NSW", "Richmond"),
        ("richmond", None, "Richmond"),
    ],
)
def test_the_bureaus_name_with_its_state_is_the_station(name: str, state: str | None, station: str) -> None:
    assert named(name, state) == station


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("Richmond", "Queensland"),
        ("Richmond Airport", "Queensland"),
        ("Richmond Airport", None),
        ("Perth", "Tasmania"),
        ("Melbourne", "Florida"),
        ("Bathurst", "New South Wales"),
        ("Nhill Airport", None),
        ("Sydney Olympic Park", None),
        ("Sydney Airport West", "New South Wales"),
        ("Nhi", None),
        ("", None),
        ("-", None),
        ("Albury\u0301", None),
    ],
)
def test_a_place_of_another_state_or_a_name_that_is_only_similar_is_no_station(name: str, state: str | None) -> None:
    assert named(name, state) is None


def test_the_number_of_the_main_station_comes_first_and_numbers_of_others_decide_nothing() -> None:
    sydney = StationText("Sydney", "New South Wales", "IDCJDW2124", "066214 066037 066022")
    assert SHIPPED.recognise(sydney) == Recognised("Sydney", "number")
    assert SHIPPED.recognise(StationText(None, None, None, "063005 066037")) is None
    assert SHIPPED.recognise(StationText("Viewbank", "Victoria", "IDCJDW9999", "086068 086282")) == Recognised(
        "Watsonia", "number"
    )


def test_a_product_outlives_the_move_of_its_station_and_a_name_outlives_both() -> None:
    moved = StationText("Sydney (Somewhere Else)", "New South Wales", "IDCJDW2124", "066999")
    assert SHIPPED.recognise(moved) == Recognised("Sydney", "product")
    unknown = StationText("Canberra", "Australian Capital Territory", "IDCJDW0000", "000000")
    assert SHIPPED.recognise(unknown) == Recognised("Canberra", "name")


def test_the_present_and_the_former_main_station_are_the_same_place() -> None:
    for present, former, place in (
        ("066214", "066062", "Sydney"),
        ("023000", "023090", "Adelaide"),
        ("086338", "086071", "Melbourne"),
        ("059151", "059040", "CoffsHarbour"),
    ):
        for number in (present, former):
            assert SHIPPED.recognise(StationText(None, numbers=number)) == Recognised(place, "number")


def test_products_whose_place_is_not_settled_decide_nothing_by_themselves() -> None:
    for product in ("IDCJDW2146", "IDCJDW4154", "IDCJDW2012", "IDCJDW4100"):
        assert SHIPPED.recognise(StationText(None, product=product)) is None
    assert named("Wollongong", "New South Wales") == "Wollongong"


def test_two_places_of_one_name_are_told_apart_by_their_state() -> None:
    both = Recogniser([*STATIONS, RICHMOND_QLD])
    assert named("Richmond", "Queensland", both) == "RichmondQLD"
    assert named("Richmond", "New South Wales", both) == "Richmond"
    assert named("Richmond", None, both) == "Richmond"  # the id
    twins = Recogniser([RICHMOND_QLD, Station("RichmondVIC", "VIC", -37.8, 145, 10, "Australia/Melbourne", "Richmond")])
    assert named("Richmond", None, twins) is None
    assert named("Richmond", "Victoria", twins) == "RichmondVIC"


def test_stations_of_the_user_are_found_by_id_and_by_name_and_may_be_in_any_country() -> None:
    stations = Recogniser([*STATIONS, DE_BILT])
    assert named("De Bilt", None, stations) == named("debilt", "Netherlands", stations) == "DeBilt"
    assert named("De Bilt", "Belgium", stations) is None


def test_stations_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(InvariantError, match="'Cobar' and 'COBAR' cannot be told apart"):
        Recogniser(Station(name, "NSW", -30, 150, 1, "Australia/Sydney") for name in ("Cobar", "COBAR"))
    with pytest.raises(InvariantError, match="'A' and 'B' of NSW are both called 'Hill'"):
        Recogniser(Station(name, "NSW", -30, 150, 1, "Australia/Sydney", "Hill") for name in ("A", "B"))


def test_a_station_of_the_user_may_not_take_the_place_of_a_shipped_one() -> None:
    def of(id_: str, state: str, name: str) -> Station:
        return Station(id_, state, 0, 0, 0, "UTC", name)

    assert clash(of("perth", "Scotland", "Perth"), STATIONS) == "Perth"
    assert clash(of("Ayers", "NT", "Yulara"), STATIONS) == "Uluru"
    assert clash(of("Yulara", "Mars", ""), STATIONS) == "Uluru"
    assert clash(RICHMOND_QLD, STATIONS) is None
    assert clash(DE_BILT, STATIONS) is None


def test_the_way_back_names_how_a_row_was_recognised_and_the_moves_of_its_place() -> None:
    def words(*fields: str | None) -> str:
        said = StationText(*fields)
        found = SHIPPED.recognise(said)
        assert found is not None
        return in_words(found, said)

    assert words("Sydney", "New South Wales", "IDCJDW2124", "066214 066037") == (
        "Sydney, recognised by the Bureau's number 066214 (Sydney (Observatory Hill)); product IDCJDW2124; some "
        "elements from 066037; the place was also 066062, Sydney (Observatory Hill) (before 066214, in lists until "
        "about 2018)"
    )
    assert words(None, None, "IDCJDW5002", "023090") == (
        "Adelaide, recognised by the Bureau's number 023090 (Adelaide (Kent Town)); product IDCJDW5002; the place was "
        "also 023000, Adelaide (West Terrace / Ngayirdapira) (reopened in May 2017)"
    )
    assert words("Cobar", None, "IDCJDW2029", "048999") == (
        "Cobar, recognised by the Bureau's product IDCJDW2029; main station 048999, which is not one of those known "
        "here (048027)"
    )
    assert words("Yulara", "Northern Territory") == "Uluru, recognised by its name 'Yulara' in Northern Territory"
    assert words("Perth") == "Perth, recognised by its name 'Perth'"


def test_rows_are_recognised_together_as_they_are_alone() -> None:
    said = [
        StationText("Sydney", "New South Wales", "IDCJDW2124", "066214 066037"),
        StationText("Richmond", "Queensland"),
        StationText("Richmond"),
        StationText(None),
        StationText("Perth", None, "IDCJDW6111"),
        StationText("Sydney", "New South Wales", "IDCJDW2124", "066214 066037"),
    ]
    columns = [[getattr(each, field) for each in said] for field in ("name", "state", "product", "numbers")]
    rows = pa.table(dict(zip(STATION_COLUMNS, (pa.array(texts, pa.string()) for texts in columns), strict=True)))
    found = SHIPPED.ids(rows).to_pylist()
    assert found == ["Sydney", None, "Richmond", None, "Perth", "Sydney"]
    older = rows.select(["station"])
    assert SHIPPED.ids(older).to_pylist() == ["Sydney", "Richmond", "Richmond", None, "Perth", "Sydney"]
    assert SHIPPED.ids(rows.slice(0, 0)).to_pylist() == []
