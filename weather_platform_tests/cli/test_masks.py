"""`weather stations mask` on a real home: what changes, what does not, and that one command undoes it."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from weather_platform.domain.feature_table import label_column, station_grid
from weather_platform.domain.features import feature_names
from weather_platform.domain.neighbours import neighbour_weights
from weather_platform.domain.splits import day_number
from weather_platform.lake.masks import MASKS_TABLE, masks_in_force, recorded_masks
from weather_platform.serving.follower import Follower
from weather_platform.serving.model_store import ModelStore, StoreEvent
from weather_platform.serving.state import StateFolder
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.small_models import TARGET

FROM = date(2015, 6, 20)
COLUMN = "humidity_3pm_pct"


def ordered(home: MadeHome, table: str = "features") -> pa.Table:
    return home.lake.read(table).sort_by([("day", "ascending"), ("station", "ascending")])


def mask(home: MadeHome, name: str, station: str, *more: str, column: str = COLUMN) -> str:
    done = home.call("stations", name, station, column, "--from", str(FROM), "--why", "the hygrometer is broken", *more)
    return done.out if done.code == 0 else f"refused ({done.code}): {done.err}"


def station_with_neighbours(home: MadeHome) -> tuple[str, set[str]]:
    """A station that some others look at, and which ones do."""
    grid = station_grid(home.lake.read("stations"))
    weights = neighbour_weights(grid)
    seen_by = {at: {grid.ids[o] for o in range(len(grid)) if at in weights.neighbours(o)} for at in range(len(grid))}
    fewest = min((at for at in seen_by if seen_by[at]), key=lambda at: len(seen_by[at]))
    return grid.ids[fewest], seen_by[fewest]


def changed_rows(before: pa.Table, after: pa.Table) -> set[tuple[str, date]]:
    """Station-days of which any feature differs."""
    assert before.select(["station", "day"]).equals(after.select(["station", "day"]))
    differs = np.zeros(before.num_rows, dtype=bool)
    for name in feature_names():
        then, now = (table[name].to_numpy().view(np.int32) for table in (before, after))
        differs |= (then != now) & ~(np.isnan(before[name].to_numpy()) & np.isnan(after[name].to_numpy()))
    rows = before.filter(pa.array(differs)).select(["station", "day"]).to_pylist()
    return {(row["station"], row["day"]) for row in rows}


def test_a_mask_changes_the_station_and_its_neighbours_and_ending_it_gives_the_same_bytes(home: MadeHome) -> None:
    station, neighbours = station_with_neighbours(home)
    features, observations = ordered(home), ordered(home, "observations")
    forecasts = home.database.forecasts(TARGET, FROM, date(2015, 6, 30))
    raw_version = home.lake.version("raw_observations")
    assert home.call("reproduce", TARGET, "1").code == 0

    said = mask(home, "mask", station)
    assert said.startswith(f"masked {station} {COLUMN} from {FROM} on: it counts as missing in features of 2015")
    assert f"weather stations unmask {station} {COLUMN} --from {FROM}" in said
    assert "weather update" in said
    assert "humidity" in home.call("stations", "masks").out
    updated = home.call("update")
    assert updated.code == 0, updated.err

    after = ordered(home)
    changed = changed_rows(features, after)
    assert {day for _, day in changed} <= {FROM + timedelta(days=at) for at in range(40)}
    assert (station, FROM) in changed
    assert {name for name, _ in changed} <= {station, *neighbours}
    assert neighbours & {name for name, _ in changed}
    mine = after.filter(pc.and_(pc.equal(after["station"], station), pc.greater_equal(after["day"], FROM)))
    assert mine[COLUMN].null_count == mine.num_rows > 0
    assert after[label_column(TARGET)].equals(features[label_column(TARGET)]), "humidity is no label"
    assert ordered(home, "observations").equals(observations)
    assert home.lake.version("raw_observations") == raw_version
    again = home.database.forecasts(TARGET, FROM, date(2015, 6, 30))
    assert not again.select(["station", "day", "probability"]).equals(
        forecasts.select(["station", "day", "probability"])
    )
    assert home.call("update").code == 0
    assert ordered(home).equals(after), "nothing is made again without a change"

    # The service sees the same: the features of the newest day, from what is stored, are those of the batch.
    Follower.from_settings(home.settings, StateFolder(home.folder)).poll()
    events: list[StoreEvent] = []
    store = ModelStore(home.settings, events.append)
    store.look()
    served = store.served
    assert served is not None
    assert served.recent is not None
    newest = pc.max(after["day"]).as_py()
    for row in after.filter(pc.equal(after["day"], newest)).to_pylist():
        index = int(served.recent.grid.index_of([row["station"]])[0])
        one = served.recent.features_of_one(index, day_number(newest), {}, use_history=True)[0]
        batch = np.array([np.nan if row[name] is None else row[name] for name in feature_names()], dtype=np.float32)
        assert np.array_equal(one, batch, equal_nan=True)

    assert home.call("reproduce", TARGET, "1").code == 0, "a model of before is made from the rows of before"
    assert mask(home, "unmask", station).startswith(f"unmasked {station} {COLUMN} from {FROM} on: it counts again")
    assert home.call("update").code == 0
    assert ordered(home).equals(features)
    back = home.database.forecasts(TARGET, FROM, date(2015, 6, 30))
    assert back.select(["station", "day", "probability"]).equals(forecasts.select(["station", "day", "probability"]))
    assert home.call("stations", "masks").out == "no column is masked\n"
    assert len(home.call("stations", "masks", "--all").out.splitlines()) == 2
    assert masks_in_force(home.lake)[0] == ()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("Nowhere", COLUMN), "there is no station 'Nowhere'"),
        (("AliceSpring", COLUMN), "did you mean AliceSprings?"),
        (("AliceSprings", "humidity_3pm"), "did you mean humidity_3pm_pct?"),
        (("AliceSprings", "station"), "there is no column 'station'"),
        (("AliceSprings\n", COLUMN), "there is no station"),
        (("AliceSprings", COLUMN, "--to", "2015-06-01"), "cannot end on 2015-06-01"),
    ],
)
def test_names_that_are_not_known_are_refused_in_one_line_and_nothing_is_recorded(
    home: MadeHome, arguments: tuple[str, ...], said: str
) -> None:
    done = home.call("stations", "mask", *arguments, "--from", str(FROM), "--why", "the hygrometer is broken")
    assert done.code != 0
    assert said in done.err
    assert len(done.lines) == 1
    assert not home.lake.exists(MASKS_TABLE)


def test_the_same_mask_twice_and_one_that_is_not_there_are_refused(home: MadeHome) -> None:
    station, _ = station_with_neighbours(home)
    assert "is not masked; masked are: none" in mask(home, "unmask", station)
    assert "counts as missing" in mask(home, "mask", station)
    assert "is masked already" in mask(home, "mask", station)
    assert len(recorded_masks(home.lake)[0]) == 1
