"""The tables. A change here needs a migration; a test compares the two on SQLite and on PostgreSQL."""

from datetime import UTC, date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A moment: aware in Python, UTC in the database (SQLite keeps no time zone: put back on reading)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone cannot be stored")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can find them again."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


ONE_KIND_OF_FORECAST = (
    "(probability IS NOT NULL AND threshold IS NOT NULL AND label IS NOT NULL"
    " AND value IS NULL AND value_low IS NULL AND value_high IS NULL)"
    " OR (probability IS NULL AND threshold IS NULL AND label IS NULL"
    " AND value IS NOT NULL AND value_low IS NOT NULL AND value_high IS NOT NULL)"
)
"""A forecast is a probability with its threshold and label, or a value with its interval: never both, never half."""


class ForecastRow(Base):
    """One forecast: issued for a station at the end of the local day `day`, by one model version.

    `value`, `value_low` and `value_high` are in the unit of the target.
    """

    __tablename__ = "forecasts"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('live', 'hindcast')", name="kind"),
        sa.CheckConstraint("probability >= 0 AND probability <= 1", name="probability"),
        sa.CheckConstraint("threshold >= 0 AND threshold <= 1", name="threshold"),
        sa.CheckConstraint(ONE_KIND_OF_FORECAST, name="one_kind"),
        sa.CheckConstraint("value_low <= value AND value <= value_high", name="value"),
        sa.Index(None, "target", "day"),
    )

    target: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    station: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    day: Mapped[date] = mapped_column(sa.Date, primary_key=True)
    model_version: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(sa.Text)
    model_digest: Mapped[str] = mapped_column(sa.Text)
    feature_version: Mapped[str] = mapped_column(sa.Text)
    probability: Mapped[float | None] = mapped_column(sa.Double)
    threshold: Mapped[float | None] = mapped_column(sa.Double)
    label: Mapped[bool | None] = mapped_column(sa.Boolean)
    issued_at: Mapped[datetime] = mapped_column(UtcDateTime)
    dagster_run_id: Mapped[str] = mapped_column(sa.Text)
    value: Mapped[float | None] = mapped_column(sa.Double)
    value_low: Mapped[float | None] = mapped_column(sa.Double)
    value_high: Mapped[float | None] = mapped_column(sa.Double)


class ForecastDayRow(Base):
    """A day that a version has forecast, also one without any report: how many forecasts, made from which version of
    the features table (NULL: an older version of the platform made them, and did not say)."""

    __tablename__ = "forecast_days"

    target: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    day: Mapped[date] = mapped_column(sa.Date, primary_key=True)
    model_version: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    forecasts: Mapped[int] = mapped_column(sa.Integer)
    features_lake_version: Mapped[int | None] = mapped_column(sa.Integer)


class PromotionDecisionRow(Base):
    """One decision about one challenger. Append-only."""

    __tablename__ = "promotion_decisions"
    __table_args__ = (
        sa.CheckConstraint("decision IN ('DEPLOY', 'SKIP', 'REJECT')", name="decision"),
        sa.Index(None, "target", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(sa.Integer, primary_key=True)
    target: Mapped[str] = mapped_column(sa.Text)
    year: Mapped[int] = mapped_column(sa.Integer)
    decision: Mapped[str] = mapped_column(sa.Text)
    reasons: Mapped[list[str]] = mapped_column(sa.JSON)
    challenger_version: Mapped[int | None] = mapped_column(sa.Integer)
    challenger_run_id: Mapped[str] = mapped_column(sa.Text)
    challenger_digest: Mapped[str] = mapped_column(sa.Text)
    champion_version: Mapped[int | None] = mapped_column(sa.Integer)
    champion_digest: Mapped[str | None] = mapped_column(sa.Text)
    evidence: Mapped[dict[str, object]] = mapped_column(sa.JSON)
    dagster_run_id: Mapped[str] = mapped_column(sa.Text)
    decided_at: Mapped[datetime] = mapped_column(UtcDateTime)


class LeaderboardEntryRow(Base):
    """One line of the leaderboard of a test year; without a rank it is a baseline."""

    __tablename__ = "leaderboard_entries"
    __table_args__ = (
        sa.CheckConstraint("rank >= 1", name="rank"),
        sa.CheckConstraint("(rank IS NULL) = (run_id IS NULL)", name="run_id"),
        sa.UniqueConstraint("target", "year", "rank"),
    )

    target: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    year: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    rank: Mapped[int | None] = mapped_column(sa.Integer)
    metric: Mapped[str] = mapped_column(sa.Text)
    validation: Mapped[float | None] = mapped_column(sa.Double)
    test: Mapped[float] = mapped_column(sa.Double)
    test_low: Mapped[float | None] = mapped_column(sa.Double)
    test_high: Mapped[float | None] = mapped_column(sa.Double)
    test_rows: Mapped[int] = mapped_column(sa.Integer)
    train_seconds: Mapped[float | None] = mapped_column(sa.Double)
    predict_rows_per_second: Mapped[float | None] = mapped_column(sa.Double)
    peak_memory_mb: Mapped[float | None] = mapped_column(sa.Double)
    run_id: Mapped[str | None] = mapped_column(sa.Text)
    digest: Mapped[str | None] = mapped_column(sa.Text)
    dagster_run_id: Mapped[str] = mapped_column(sa.Text)
    made_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AliasChangeRow(Base):
    """One move of an alias in the model registry; without a version it was taken away. Append-only."""

    __tablename__ = "alias_changes"
    __table_args__ = (
        sa.CheckConstraint("(to_version IS NULL) = (digest IS NULL)", name="digest"),
        sa.Index(None, "target", "alias", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(sa.Integer, primary_key=True)
    target: Mapped[str] = mapped_column(sa.Text)
    alias: Mapped[str] = mapped_column(sa.Text)
    from_version: Mapped[int | None] = mapped_column(sa.Integer)
    to_version: Mapped[int | None] = mapped_column(sa.Integer)
    digest: Mapped[str | None] = mapped_column(sa.Text)
    decision_id: Mapped[int | None] = mapped_column(sa.ForeignKey("promotion_decisions.id"))
    reason: Mapped[str] = mapped_column(sa.Text)
    dagster_run_id: Mapped[str] = mapped_column(sa.Text)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)


class MaturedSkillRow(Base):
    """What the forecasts of a month were worth: sums over rows of one model version, kind and state, and the scores
    worked out of them. Sums of several rows are exact."""

    __tablename__ = "matured_skill"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('live', 'hindcast')", name="kind"),
        sa.CheckConstraint("forecasts = matured + pending + unmatched", name="counts"),
    )

    target: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    month: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    model_version: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    state: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    forecasts: Mapped[int] = mapped_column(sa.BigInteger)
    matured: Mapped[int] = mapped_column(sa.BigInteger)
    pending: Mapped[int] = mapped_column(sa.BigInteger)
    unmatched: Mapped[int] = mapped_column(sa.BigInteger)
    true_positive: Mapped[int | None] = mapped_column(sa.BigInteger)
    false_positive: Mapped[int | None] = mapped_column(sa.BigInteger)
    false_negative: Mapped[int | None] = mapped_column(sa.BigInteger)
    covered: Mapped[int | None] = mapped_column(sa.BigInteger)
    forecast_sum: Mapped[float] = mapped_column(sa.Double)
    observed_sum: Mapped[float] = mapped_column(sa.Double)
    observed_squared_sum: Mapped[float] = mapped_column(sa.Double)
    squared_error: Mapped[float] = mapped_column(sa.Double)
    absolute_error: Mapped[float] = mapped_column(sa.Double)
    climatology_squared_error: Mapped[float] = mapped_column(sa.Double)
    climatology_absolute_error: Mapped[float] = mapped_column(sa.Double)
    persistence_squared_error: Mapped[float] = mapped_column(sa.Double)
    persistence_absolute_error: Mapped[float] = mapped_column(sa.Double)
    mean_squared_error: Mapped[float | None] = mapped_column(sa.Double)
    mean_absolute_error: Mapped[float | None] = mapped_column(sa.Double)
    bias: Mapped[float | None] = mapped_column(sa.Double)
    squared_skill_climatology: Mapped[float | None] = mapped_column(sa.Double)
    absolute_skill_climatology: Mapped[float | None] = mapped_column(sa.Double)
    squared_skill_persistence: Mapped[float | None] = mapped_column(sa.Double)
    absolute_skill_persistence: Mapped[float | None] = mapped_column(sa.Double)
    f1: Mapped[float | None] = mapped_column(sa.Double)
    r2: Mapped[float | None] = mapped_column(sa.Double)
    coverage: Mapped[float | None] = mapped_column(sa.Double)
    measured_at: Mapped[datetime] = mapped_column(UtcDateTime)
    dagster_run_id: Mapped[str] = mapped_column(sa.Text)


class MaturedReliabilityRow(Base):
    """The matured forecasts of such a row by what was forecast: tenths of probability, or whole units of the value."""

    __tablename__ = "matured_reliability"

    target: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    month: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    model_version: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    state: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    bin: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    matured: Mapped[int] = mapped_column(sa.BigInteger)
    forecast_sum: Mapped[float] = mapped_column(sa.Double)
    observed_sum: Mapped[float] = mapped_column(sa.Double)


class MaturedBiasRow(Base):
    """Mean of forecast minus observed in a month, of all stations, a state or a station, with a 98 % interval.

    In the unit of the target. `place` is empty for all. The interval is null where it would be of a single day.
    """

    __tablename__ = "matured_bias"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('live', 'hindcast')", name="kind"),
        sa.CheckConstraint("scope IN ('all', 'state', 'station')", name="scope"),
        sa.CheckConstraint("low <= bias AND bias <= high", name="interval"),
    )

    target: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    month: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    model_version: Mapped[int] = mapped_column(sa.Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    scope: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    place: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    rows: Mapped[int] = mapped_column(sa.BigInteger)
    days: Mapped[int] = mapped_column(sa.Integer)
    bias: Mapped[float] = mapped_column(sa.Double)
    low: Mapped[float | None] = mapped_column(sa.Double)
    high: Mapped[float | None] = mapped_column(sa.Double)


class RetrainingRequestRow(Base):
    """What a person said of retraining: train now, or not until a day. Append-only; the newest counts."""

    __tablename__ = "retraining_requests"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('retrain', 'veto')", name="kind"),
        sa.CheckConstraint("(kind = 'veto') = (until IS NOT NULL)", name="until"),
        sa.Index(None, "target", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(sa.Integer, primary_key=True)
    target: Mapped[str] = mapped_column(sa.Text)
    kind: Mapped[str] = mapped_column(sa.Text)
    why: Mapped[str] = mapped_column(sa.Text)
    who: Mapped[str] = mapped_column(sa.Text)
    until: Mapped[date | None] = mapped_column(sa.Date)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class RetrainingDecisionRow(Base):
    """Whether a target was to be trained again after a month, with everything that was looked at. Append-only.

    `request_id` is the request that asked for it; null where the month was decided by itself.
    """

    __tablename__ = "retraining_decisions"
    __table_args__ = (
        sa.CheckConstraint("decision IN ('RETRAIN', 'RECALIBRATE', 'WAIT', 'OK', 'UNKNOWN')", name="decision"),
        sa.Index(None, "target", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(sa.Integer, primary_key=True)
    target: Mapped[str] = mapped_column(sa.Text)
    month: Mapped[str] = mapped_column(sa.Text)
    decision: Mapped[str] = mapped_column(sa.Text)
    reasons: Mapped[list[str]] = mapped_column(sa.JSON)
    notices: Mapped[list[str]] = mapped_column(sa.JSON)
    inputs: Mapped[dict[str, object]] = mapped_column(sa.JSON)
    request_id: Mapped[int | None] = mapped_column(sa.ForeignKey("retraining_requests.id"))
    dagster_run_id: Mapped[str] = mapped_column(sa.Text)
    decided_at: Mapped[datetime] = mapped_column(UtcDateTime)


class RetrainingOutcomeRow(Base):
    """What came of a decision to train: the promotion decision on the new version, or why there is none.

    Append-only; a run that failed after its promotion was decided has two.
    """

    __tablename__ = "retraining_outcomes"
    __table_args__ = (
        sa.CheckConstraint("outcome IN ('DEPLOY', 'SKIP', 'REJECT', 'FAILED')", name="outcome"),
        sa.UniqueConstraint("decision_id", "dagster_run_id", "outcome"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(sa.Integer, primary_key=True)
    decision_id: Mapped[int] = mapped_column(sa.ForeignKey("retraining_decisions.id"))
    outcome: Mapped[str] = mapped_column(sa.Text)
    version: Mapped[int | None] = mapped_column(sa.Integer)
    reason: Mapped[str] = mapped_column(sa.Text)
    dagster_run_id: Mapped[str] = mapped_column(sa.Text)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class DriftReportRow(Base):
    """What one month said of drift, and where its report is. Replaced when the month is reported again."""

    __tablename__ = "drift_reports"
    __table_args__ = (
        sa.CheckConstraint("status IN ('none', 'drift', 'unknown')", name="status"),
        sa.CheckConstraint("share >= 0 AND share <= 1", name="share"),
    )

    month: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    status: Mapped[str] = mapped_column(sa.Text)
    reasons: Mapped[list[str]] = mapped_column(sa.JSON)
    share: Mapped[float | None] = mapped_column(sa.Double)
    days: Mapped[int] = mapped_column(sa.Integer)
    rows: Mapped[int] = mapped_column(sa.Integer)
    reference_rows: Mapped[int] = mapped_column(sa.Integer)
    current_sample: Mapped[int] = mapped_column(sa.Integer)
    reference_sample: Mapped[int] = mapped_column(sa.Integer)
    reference_months: Mapped[list[str]] = mapped_column(sa.JSON)
    usual_months: Mapped[int] = mapped_column(sa.Integer)
    unseen_stations: Mapped[list[str]] = mapped_column(sa.JSON)
    silent_stations: Mapped[list[str]] = mapped_column(sa.JSON)
    learned_through: Mapped[str] = mapped_column(sa.Text)
    hindcast: Mapped[bool] = mapped_column(sa.Boolean)
    method: Mapped[str] = mapped_column(sa.Text)
    times_usual: Mapped[float] = mapped_column(sa.Double)
    seed: Mapped[int] = mapped_column(sa.Integer)
    models: Mapped[dict[str, object]] = mapped_column(sa.JSON)
    departures: Mapped[dict[str, object] | None] = mapped_column(sa.JSON(none_as_null=True))
    features_lake_version: Mapped[int] = mapped_column(sa.Integer)
    page_path: Mapped[str] = mapped_column(sa.Text)
    values_path: Mapped[str] = mapped_column(sa.Text)
    dagster_run_id: Mapped[str] = mapped_column(sa.Text)
    reported_at: Mapped[datetime] = mapped_column(UtcDateTime)


class DriftColumnRow(Base):
    """What one column of a drift report did. Distances are in standard deviations of the reference."""

    __tablename__ = "drift_columns"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('observation', 'prediction', 'label')", name="kind"),
        sa.CheckConstraint("status IN ('none', 'drift', 'missing', 'unknown')", name="status"),
    )

    month: Mapped[str] = mapped_column(sa.ForeignKey("drift_reports.month", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    position: Mapped[int] = mapped_column(sa.Integer)
    kind: Mapped[str] = mapped_column(sa.Text)
    status: Mapped[str] = mapped_column(sa.Text)
    distance: Mapped[float | None] = mapped_column(sa.Double)
    usual_distance: Mapped[float | None] = mapped_column(sa.Double)
    threshold: Mapped[float | None] = mapped_column(sa.Double)
    known_values: Mapped[int] = mapped_column(sa.Integer)
    reference_known_values: Mapped[int] = mapped_column(sa.Integer)
    missing_share: Mapped[float | None] = mapped_column(sa.Double)
    reference_missing_share: Mapped[float | None] = mapped_column(sa.Double)


class UserRow(Base):
    """Who may ask the endpoint, and for what. `generation` counts what ends all earlier tokens of the user."""

    __tablename__ = "users"
    __table_args__ = (sa.CheckConstraint("generation >= 1", name="generation"),)

    name: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    password_hash: Mapped[str] = mapped_column(sa.Text)
    scopes: Mapped[list[str]] = mapped_column(sa.JSON)
    disabled: Mapped[bool] = mapped_column(sa.Boolean)
    generation: Mapped[int] = mapped_column(sa.Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class FailedLoginRow(Base):
    """Failures in a row of one account: a keyed hash of user name and address, which tells neither."""

    __tablename__ = "failed_logins"
    __table_args__ = (
        sa.CheckConstraint("failures >= 1", name="failures"),
        sa.Index(None, "last_failed_at"),
    )

    account: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    failures: Mapped[int] = mapped_column(sa.Integer)
    last_failed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    locked_until: Mapped[datetime | None] = mapped_column(UtcDateTime)


class PredictionLogRow(Base):
    """One answer of the endpoint. `value` is a probability, or in the unit of the target: the mean of its forecasts.

    An answer of many forecasts (`rows`) has no station and no day.
    """

    __tablename__ = "prediction_log"
    __table_args__ = (sa.Index(None, "at"), sa.Index(None, "request_id"), sa.Index(None, "target", "at"))

    id: Mapped[int] = mapped_column(sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True)
    request_id: Mapped[str] = mapped_column(sa.Text)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    subject: Mapped[str] = mapped_column(sa.Text)
    route: Mapped[str] = mapped_column(sa.Text)
    target: Mapped[str] = mapped_column(sa.Text)
    station: Mapped[str | None] = mapped_column(sa.Text)
    day: Mapped[date | None] = mapped_column(sa.Date)
    model_version: Mapped[int] = mapped_column(sa.Integer)
    model_digest: Mapped[str] = mapped_column(sa.Text)
    features_sha256: Mapped[str] = mapped_column(sa.Text)
    rows: Mapped[int] = mapped_column(sa.Integer)
    value: Mapped[float] = mapped_column(sa.Double)
    seconds: Mapped[float] = mapped_column(sa.Double)


class PredictionLogWriterRow(Base):
    """The account of one process that writes the prediction log. Every answer is in one of the three counts;
    `lost` is known when the process has ended."""

    __tablename__ = "prediction_log_writers"
    __table_args__ = (sa.CheckConstraint("(lost IS NULL) = (ended_at IS NULL)", name="ended"),)

    writer: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    process_id: Mapped[int] = mapped_column(sa.BigInteger)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    written: Mapped[int] = mapped_column(sa.BigInteger)
    dropped: Mapped[int] = mapped_column(sa.BigInteger)
    lost: Mapped[int | None] = mapped_column(sa.BigInteger)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class NoticeRow(Base):
    """One notice to people, open until its cause is gone; of each cause at most one is open."""

    __tablename__ = "notices"
    __table_args__ = (
        sa.CheckConstraint("severity IN ('info', 'warning', 'urgent')", name="severity"),
        sa.Index(
            "uq_notices_open_cause", "cause", unique=True,
            sqlite_where=sa.text("resolved_at IS NULL"), postgresql_where=sa.text("resolved_at IS NULL"),
        ),
        sa.Index(None, "cause", "id"),
        {"sqlite_autoincrement": True},
    )  # fmt: skip

    id: Mapped[int] = mapped_column(sa.Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(sa.Text)
    severity: Mapped[str] = mapped_column(sa.Text)
    cause: Mapped[str] = mapped_column(sa.Text)
    title: Mapped[str] = mapped_column(sa.Text)
    text: Mapped[str] = mapped_column(sa.Text)
    remedy: Mapped[str] = mapped_column(sa.Text)
    dagster_run_id: Mapped[str | None] = mapped_column(sa.Text)
    items: Mapped[list[str]] = mapped_column(sa.JSON)
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_event_at: Mapped[datetime] = mapped_column(UtcDateTime)
    resolved_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    opening_routed: Mapped[bool] = mapped_column(sa.Boolean)
    end_routed: Mapped[bool] = mapped_column(sa.Boolean)


class NoticeDeliveryRow(Base):
    """One message about a notice to one channel: that it was opened, or that it is over.

    While `claimed_until` is in the future, the sender that holds `claim` is sending it.
    """

    __tablename__ = "notice_deliveries"
    __table_args__ = (
        sa.CheckConstraint("phase IN ('opened', 'over')", name="phase"),
        sa.CheckConstraint("state IN ('waiting', 'sent', 'failed')", name="state"),
        sa.CheckConstraint("(state = 'sent') = (sent_at IS NOT NULL)", name="sent_at"),
        sa.UniqueConstraint("notice_id", "channel", "phase"),
        sa.Index(None, "state", "next_try_at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(sa.Integer, primary_key=True)
    notice_id: Mapped[int] = mapped_column(sa.ForeignKey("notices.id"))
    channel: Mapped[str] = mapped_column(sa.Text)
    phase: Mapped[str] = mapped_column(sa.Text)
    in_digest: Mapped[bool] = mapped_column(sa.Boolean)
    state: Mapped[str] = mapped_column(sa.Text)
    tries: Mapped[int] = mapped_column(sa.Integer)
    next_try_at: Mapped[datetime] = mapped_column(UtcDateTime)
    claim: Mapped[str | None] = mapped_column(sa.Text)
    claimed_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_error: Mapped[str | None] = mapped_column(sa.Text)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
