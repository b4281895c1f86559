import numpy as np
import pytest

from weather_platform.domain.stations import STATIONS
from weather_platform.reports.coastline import rings_within


def _on_land(latitude_deg: float, longitude_deg: float) -> bool:
    """Whether a place is inside an odd number of rings, by the crossings of a line to the east."""
    crossings = 0
    for ring in rings_within(longitude_deg - 1, longitude_deg + 1, latitude_deg - 1, latitude_deg + 1):
        (x0, y0), (x1, y1) = ring.T, np.roll(ring, -1, axis=0).T
        over = (y0 > latitude_deg) != (y1 > latitude_deg)
        at = x0[over] + (latitude_deg - y0[over]) / (y1[over] - y0[over]) * (x1[over] - x0[over])
        crossings += int(np.count_nonzero(at > longitude_deg))
    return crossings % 2 == 1


@pytest.mark.parametrize(
    ("place", "latitude_deg", "longitude_deg", "land"),
    [
        ("Alice Springs", -23.8, 133.9, True),
        ("Launceston", -41.5, 147.1, True),
        ("Great Australian Bight", -34.5, 130.0, False),
        ("Bass Strait", -39.7, 146.0, False),
        ("Nairobi", -1.3, 36.8, True),
        ("Chukotka, beyond the date line", 67.0, -174.0, True),
        ("Bering Sea, on the date line", 58.0, 180.0, False),
        ("Fiji, Vanua Levu", -16.6, 179.2, True),
    ],
)
def test_land_is_land_and_sea_is_sea(place: str, latitude_deg: float, longitude_deg: float, land: bool) -> None:
    assert _on_land(latitude_deg, longitude_deg) is land


def test_a_view_over_the_date_line_gets_the_coasts_of_both_sides() -> None:
    rings = rings_within(170, 195, 60, 72)
    assert any(ring[:, 0].max() > 190 for ring in rings)
    assert any(ring[:, 0].min() < 180 for ring in rings)
    west = rings_within(-190, -165, 60, 72)
    assert len(west) == len(rings)
    assert np.allclose(np.sort(np.concatenate(west)[:, 0]) + 360, np.sort(np.concatenate(rings)[:, 0]))


def test_the_open_ocean_has_no_coast() -> None:
    assert rings_within(55, 65, -45, -40) == []


def test_most_stations_of_the_catalogue_are_on_land() -> None:
    """Some are on the shore, closer to it than the outline is exact."""
    inside = sum(_on_land(station.latitude_deg, station.longitude_deg) for station in STATIONS)
    assert inside >= 0.8 * len(STATIONS)
