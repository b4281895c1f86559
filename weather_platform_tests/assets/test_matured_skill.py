"""The matured skill asset on the shared small run: the same numbers as the model's own test, and months made again."""

from datetime import date, timedelta

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from weather_platform.domain.matured import COUNTS, combine, with_scores
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.e2e.test_outages import part
from weather_platform_tests.small_models import TARGET
from weather_platform_tests.stages import forecast_table

NEWEST = date(2015, 6, 30)
MONTH = "2015-06"
LABEL = f"label_{TARGET}"


def counts(home: MadeHome, kind: str) -> dict[str, int]:
    rows = home.database.matured_skill(TARGET).skill.filter(pc.field("kind") == kind)
    [total] = combine(rows, ()).select(COUNTS).to_pylist()
    return {name: total[name] or 0 for name in COUNTS}


def told(home: MadeHome, month: str) -> dict[str, object]:
    """The metadata of the newest materialization of a month."""
    with dg.DagsterInstance.from_config(str(home.folder / "dagster")) as instance:
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey([TARGET, "matured_skill"]), asset_partitions=[month])
        [record] = instance.fetch_materializations(wanted, limit=1).records
        assert record.asset_materialization is not None
        return {name: value.value for name, value in record.asset_materialization.metadata.items()}


def with_labels(home: MadeHome, labels: pa.Array | None, year: str = "2015") -> pa.Table:
    """Store the features of a year with other labels; gives those that were there."""
    rows = home.lake.snapshot("features").read(keys=[year])
    at = rows.schema.get_field_index(LABEL)
    new = pa.nulls(rows.num_rows, pa.float32()) if labels is None else labels
    home.lake.replace_partition("features", "year", year, rows.set_column(at, rows.schema.field(at), new))
    return rows[LABEL]


def test_hindcasts_of_the_test_span_have_the_very_scores_of_the_test_and_never_count_as_live(home: MadeHome) -> None:
    model = home.registry.production(TARGET)
    first = model.tested_through - timedelta(days=89)
    assert part(home, "forecast", first.isoformat(), "forecasts", last=NEWEST.isoformat()) == ""
    assert part(home, "watch", first.isoformat()[:7], "matured_skill", last=MONTH) == ""
    rows = with_scores(combine(home.database.matured_skill(TARGET).skill, ("kind",))).to_pylist()
    hindcast, live = sorted(rows, key=lambda row: str(row["kind"]))
    metrics = home.registry.reference(model.run_id).metrics
    assert hindcast["matured"] == metrics["rows_test"]
    assert hindcast["mean_squared_error"] == pytest.approx(metrics["test_brier"], rel=1e-12)
    assert hindcast["f1"] == pytest.approx(metrics["test_f1"], rel=1e-12)
    for name in ("climatology", "persistence"):
        skill = 1 - metrics["test_brier"] / metrics[f"{name}_brier"]
        assert hindcast[f"squared_skill_{name}"] == pytest.approx(skill, rel=1e-12)
    of_june = home.database.matured_skill(TARGET, MONTH, MONTH)
    [bias] = of_june.bias.filter((pc.field("kind") == "hindcast") & (pc.field("scope") == "all")).to_pylist()
    [june] = combine(of_june.skill, ()).to_pylist()
    assert bias["rows"] == june["matured"]
    assert bias["bias"] == pytest.approx((june["forecast_sum"] - june["observed_sum"]) / june["matured"], rel=1e-9)
    # The day after the test span is live; nobody knows what came of it.
    assert (live["matured"], live["pending"], live["mean_squared_error"]) == (0, live["forecasts"], None)


def test_a_month_says_what_it_is_worth_and_shows_its_reliability(home: MadeHome) -> None:
    assert part(home, "watch", "2015-05", "matured_skill", last=MONTH) == ""
    june, may = told(home, MONTH), told(home, "2015-05")
    assert (may["rows"], may["reason"]) == (0, "no forecast was issued in this month")
    assert june["forecasts"] == june["matured"] + june["pending"] + june["unmatched"]  # type: ignore[operator]
    assert june["rows"] == june["matured"] > 0  # type: ignore[operator]
    assert "hindcast_skill_climatology" in june
    assert "live_skill_climatology" not in june
    assert "| hindcast | 1 |" in str(june["skill"])
    assert "| hindcast | 1 | all |" in str(june["bias"])
    assert str(june["reliability"]).startswith("![reliability](data:image/png;base64,")
    assert "skill_by_month" not in june, "one month with forecasts is no course of months"


def test_months_that_nothing_was_forecast_in_need_no_features_of_their_year(home: MadeHome) -> None:
    assert part(home, "watch", "2017-01", "matured_skill", last="2017-03") == ""
    assert (told(home, "2017-02")["rows"], told(home, "2017-02")["pending"]) == (0, 0)


def test_forecasts_of_a_year_whose_features_are_gone_are_never_taken_for_pending(home: MadeHome) -> None:
    day = date(2017, 1, 31)
    home.database.replace_forecasts(TARGET, 1, day, day, forecast_table([{"day": day}]))
    assert "asset 'features' lacks partition 2017; materialise it first" in part(
        home, "watch", "2017-01", "matured_skill"
    )
    assert home.database.matured_skill(TARGET).skill.num_rows == 0


def test_a_month_is_pending_until_labels_arrive_and_matures_when_it_is_made_again(home: MadeHome) -> None:
    known = with_labels(home, None)
    assert part(home, "watch", MONTH, "matured_skill") == ""
    before = counts(home, "hindcast")
    assert (before["matured"], before["pending"]) == (0, before["forecasts"])
    assert told(home, MONTH)["reason"] == "what happened is not known yet; materialise the month again when it is"
    with_labels(home, known)
    assert part(home, "watch", MONTH, "matured_skill") == ""
    after = counts(home, "hindcast")
    assert after["forecasts"] == before["forecasts"]
    assert after["matured"] + after["unmatched"] == after["forecasts"]
    assert counts(home, "live")["pending"] > 0, "the newest day still waits"


def test_climatology_is_the_one_known_when_the_model_was_trained_whatever_the_lake_says_now(home: MadeHome) -> None:
    def climatology() -> list[float]:
        found: list[float] = home.database.matured_skill(TARGET).skill["climatology_squared_error"].to_pylist()
        return found

    assert part(home, "watch", MONTH, "matured_skill") == ""
    before = climatology()
    rows = home.lake.snapshot("features").read(keys=["2012"]).num_rows
    with_labels(home, pa.array([1.0] * rows, pa.float32()), "2012")
    assert part(home, "watch", MONTH, "matured_skill") == ""
    assert climatology() == before


def test_an_outage_of_the_registry_fails_the_month_and_leaves_what_was_measured(home: MadeHome) -> None:
    assert part(home, "watch", MONTH, "matured_skill") == ""
    before = home.database.matured_skill(TARGET)
    (home.folder / "mlflow.db").write_bytes(b"this is no database" * 200)
    assert "MLflow at sqlite:///" in part(home, "watch", MONTH, "matured_skill")
    after = home.database.matured_skill(TARGET)
    assert after.skill.equals(before.skill)
    assert after.reliability.equals(before.reliability)
