import numpy as np
import pytest

from weather_platform.domain.stations import (
    EARTH_RADIUS_KM,
    STATIONS,
    bearing_deg,
    distance_km,
    match_key,
)


def _one(*values: float) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    return [np.array([v]) for v in values]


def test_a_degree_along_the_equator_or_a_meridian_is_a_360th_of_the_circumference() -> None:
    degree = 2 * np.pi * EARTH_RADIUS_KM / 360
    assert distance_km(*_one(0, 10, 0, 11)) == pytest.approx(degree)
    assert distance_km(*_one(-30, 10, -31, 10)) == pytest.approx(degree)


def test_the_distance_between_sydney_and_melbourne_is_the_known_one_both_ways() -> None:
    there = distance_km(*_one(-33.86, 151.21, -37.83, 144.98))
    assert there == pytest.approx(713, abs=3)
    assert distance_km(*_one(-37.83, 144.98, -33.86, 151.21)) == pytest.approx(there)


def test_a_place_is_at_no_distance_from_itself_and_half_a_circumference_from_its_antipode() -> None:
    assert distance_km(*_one(-35, 149, -35, 149)) == 0
    assert distance_km(*_one(-35, 149, 35, -31)) == pytest.approx(np.pi * EARTH_RADIUS_KM)


def test_distance_crosses_the_date_line_the_short_way() -> None:
    assert distance_km(*_one(0, 179.5, 0, -179.5)) == pytest.approx(distance_km(*_one(0, 0, 0, 1)))


@pytest.mark.parametrize(
    ("to_latitude", "to_longitude", "bearing"),
    [(-29, 149, 0), (-30, 150, 90), (-31, 149, 180), (-30, 148, 270)],
)
def test_a_bearing_counts_clockwise_from_north(to_latitude: float, to_longitude: float, bearing: float) -> None:
    found = bearing_deg(*_one(-30, 149, to_latitude, to_longitude))
    assert (found - bearing + 180) % 360 - 180 == pytest.approx(0, abs=0.6)
    assert 0 <= found[0] < 360


def test_distances_and_bearings_broadcast() -> None:
    latitude, longitude = np.array([-30.0, -31, -32]), np.array([140.0, 141, 142])
    km = distance_km(latitude[:, None], longitude[:, None], latitude, longitude)
    assert km.shape == (3, 3)
    assert np.allclose(km, km.T)
    assert bearing_deg(latitude[:, None], longitude[:, None], latitude, longitude).shape == (3, 3)


def test_the_catalogue_is_sorted_unique_and_lies_in_and_around_australia() -> None:
    ids = [s.id for s in STATIONS]
    assert ids == sorted(set(ids))
    assert len({match_key(i) for i in ids}) == len(ids) == 49
    assert all(-44 < s.latitude_deg < -10 and 112 < s.longitude_deg < 169 for s in STATIONS)
    assert all(-20 < s.elevation_m < 2300 for s in STATIONS)


def test_two_spellings_of_a_station_match() -> None:
    assert match_key("Alice Springs") == match_key("alice-springs") == match_key("AliceSprings")
    assert match_key("Perth") != match_key("PerthAirport")


@pytest.mark.parametrize(
    "text",
    [
        "Albury ",
        "ALBURY\u00a0",
        "\ufeffAlbury",
        "al\u2010bury",
        "\u201cAlbury\u201d",
        "Al\u00adbury",
        "+Albury_",
        "albury\u3000",
    ],
)
def test_blanks_punctuation_and_case_of_any_script_make_no_other_station(text: str) -> None:
    assert match_key(text) == match_key("Albury")


@pytest.mark.parametrize(
    "text",
    [
        "Alburyé",
        "Alburye\u0301",
        "Albury\u0301",
        "雨Albury",
        "Ålbury",
        "Albury\ufffd",
        "Albury°",
        "Albury²",
        "Albury٣",
        "A\u0399bury",
    ],
)
def test_a_name_with_a_letter_beyond_ascii_is_never_a_station_of_the_catalogue(text: str) -> None:
    assert match_key(text) not in {match_key(s.id) for s in STATIONS}


def test_a_letter_with_its_accent_in_one_sign_or_in_two_is_the_same_letter() -> None:
    assert match_key("Ålbury") == match_key("A\u030albury")
