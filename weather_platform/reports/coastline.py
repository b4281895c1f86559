"""The coasts of the world, for maps that need no network.

What belongs here: reading the shipped outline and cutting it to a view. What does not: drawing (``plots``).

`coastline.npz` holds Natural Earth's land at 1:50,000,000 (version 4.1, public domain), simplified to 0.04 degrees:
`point_centidegrees` (int16, longitude and latitude in hundredths of a degree) and `ring_end` (int32, where each ring
ends among the points). A ring is one island, or one sea inside an island, drawn the other way round.
"""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FILE = Path(__file__).with_name("coastline.npz")


def rings_within(west_deg: float, east_deg: float, south_deg: float, north_deg: float) -> list[NDArray[np.float64]]:
    """The rings whose bounding box meets a view, each whole: arrays (points, 2) of longitude and latitude, degrees."""
    points, ends, low, high = _rings()
    starts = np.concatenate(([0], ends[:-1]))
    found = []
    for turn_deg in (-360.0, 0.0, 360.0):  # a view may reach over the date line
        west, east = west_deg - turn_deg, east_deg - turn_deg
        seen = (low[:, 0] <= east) & (high[:, 0] >= west) & (low[:, 1] <= north_deg) & (high[:, 1] >= south_deg)
        found += [np.add(points[starts[ring] : ends[ring]], (turn_deg, 0.0)) for ring in np.flatnonzero(seen)]
    return found


@cache
def _rings() -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.float64], NDArray[np.float64]]:
    """All points in degrees, where each ring ends, and the corners of its bounding box."""
    with np.load(_FILE, allow_pickle=False) as stored:
        points, ends = stored["point_centidegrees"] / 100.0, stored["ring_end"]
    starts = np.concatenate(([0], ends[:-1]))
    return points, ends, np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
