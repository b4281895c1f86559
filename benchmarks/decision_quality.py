"""How often the promotion rule is wrong: pairs of models with a known true difference, judged by the real rule.

    python benchmarks/decision_quality.py [--pairs 30] [--campaigns 30] [--targets rain_tomorrow ...] [--margin 0.005]
        [--workers 2] [--seed 1] [--plot FILE] [--json FILE]

Each pair is a champion and a challenger whose forecasts of a fresh and of a standing exam are drawn with the noise of
real models, then go through `compare()` and `decide()` as in a promotion. Three questions are asked of the answers:

* better: the champion is young, so only a better challenger may replace it. Wrong is a promotion of one whose true
  difference is 0 or less; the hardest such case is 0
* refresh: the champion is old, so a challenger that is as good is wanted, by intention. Wrong is a promotion of one
  that is worse by the margin or more; the hardest such case is the margin itself
* looks: a retrainer asks every month, each time with a new challenger and a fresh exam that shares two months of three
  with the one before. Wrong is a promotion as better, at any of 12 looks, of challengers that are all no better. From
  the age of refresh on, looks 7 to 12, challengers that are all worse by the margin can be promoted too

No file is read. The noise is that of models trained on the real table, see `RAIN` and `TEMPERATURE`.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from common import Report, parser
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.signal import lfilter
from scipy.stats import norm

from weather_platform.domain.promotion import Contender, Evidence, Gates, Verdict, decide
from weather_platform.domain.skill import Comparison, compare
from weather_platform.domain.splits import UNFINISHED_TEST_DAYS
from weather_platform.domain.targets import TARGETS

STATIONS, REPORTING = 49, 0.955
"""Stations, and the share of station-days with a labelled row: 17,042 rows of 364 days in 2015."""

STANDING_DAYS = 148
"""Days of the standing exam from November 2007 to the end of 2015."""

YEAR_DAYS = 365
FRESH_DAYS = (UNFINISHED_TEST_DAYS, YEAR_DAYS)
"""The fresh exam of an unfinished year, and the longest there is."""

STEPS = (-2, -1, -0.5, 0, 0.5, 1, 2, 3, 4)
"""True differences, in margins."""

LOOKS, LOOK_EVERY_DAYS, OLD_FROM_LOOK = 12, 30, 6
"""A year of monthly looks; the champion is older than 180 days of data at the last six of them."""

WRONG_AT_MOST = 0.05

Floats = NDArray[np.float64]
Exam = tuple[NDArray[np.float32], NDArray[np.int32], list[NDArray[np.generic]]]
"""Labels, days, and the forecasts of each model."""


@dataclass(frozen=True, slots=True)
class Spells:
    """A field over days and stations of variance 1: ``share`` of it is common to a day's stations, and that part
    remembers ``memory`` of the day before."""

    share: float
    memory: float

    def draw(self, rng: np.random.Generator, days: int) -> Floats:
        """(days, stations)."""
        shocks = rng.standard_normal(days) * np.sqrt(1 - self.memory**2)
        shocks[0] = rng.standard_normal()
        common = lfilter([1.0], [1.0, -self.memory], shocks)
        own = rng.standard_normal((days, STATIONS))
        return np.asarray(np.sqrt(self.share) * common[:, None] + np.sqrt(1 - self.share) * own)


@dataclass(frozen=True, slots=True)
class Noise:
    """How models of one target err. Measured on the test year 2015 of the real table with XGBoost models that
    differ in seed, in the year they were trained up to, in features (without the sector fields) and in depth.

    A model's error is one part that all models share, because the weather was hard to tell, and one of its own;
    ``own`` is the own part's share of the variance. The own part is what a comparison has to see through.
    """

    shared_error: Spells
    own_error: Spells
    own: float


@dataclass(frozen=True, slots=True)
class Rain:
    """Rain and forecasts of it are thresholds on a truth and on scores that correlate with it, all of variance 1;
    so the F1 that belongs to a correlation is known exactly."""

    noise: Noise
    weather: Spells
    rain_share: float
    forecast_share: float
    champion: float

    def exams(self, rng: np.random.Generator, days: int, differences: tuple[float, ...]) -> Exam:
        """An exam with the champion's forecasts and one challenger's for each true difference."""
        truth = self.weather.draw(rng, days)
        shared = self.noise.shared_error.draw(rng, days)
        seen = rng.random(truth.shape) < REPORTING
        forecasts: list[NDArray[np.generic]] = []
        for difference in (0.0, *differences):
            skill = _correlation(self.champion + difference, self.rain_share, self.forecast_share)
            error = _mixed(self.noise, shared, self.noise.own_error.draw(rng, days))
            score = skill * truth + np.sqrt(1 - skill**2) * error
            forecasts.append((score > norm.isf(self.forecast_share))[seen])
        labels = (truth > norm.isf(self.rain_share)).astype(np.float32)
        return labels[seen], _days_of(seen), forecasts


@cache
def _correlation(f1: float, rain_share: float, forecast_share: float) -> float:
    """The correlation of score and truth that gives this F1 in the long run."""
    rain, forecast = norm.isf(rain_share), norm.isf(forecast_share)
    hits = f1 * (rain_share + forecast_share) / 2

    def surplus(correlation: float) -> float:
        rest = np.sqrt(1 - correlation**2)
        return float(
            quad(lambda z: norm.pdf(z) * norm.cdf((correlation * z - forecast) / rest), rain, np.inf)[0] - hits
        )

    return float(brentq(surplus, 0.01, 0.999))


@dataclass(frozen=True, slots=True)
class Temperature:
    """Labels with a season, a climate of each station and weather; forecasts miss them by errors whose size differs
    from day to day and row to row (``restlessness`` is the standard deviation of its logarithm, ``unrest`` says how
    it is shared) and with the season (``summer``: by so much is their variance above the year's mean at its height).

    A true difference is that of R² over a year. Within 90 days labels spread less, so the same errors differ by
    more of R² there, and in summer by more than in winter.
    """

    noise: Noise
    weather: Spells
    station_sd_c: float
    season_sd_c: float
    weather_sd_c: float
    restlessness: float
    unrest: Spells
    summer: float
    champion: float

    def exams(self, rng: np.random.Generator, days: int, differences: tuple[float, ...]) -> Exam:
        """An exam with the champion's forecasts and one challenger's for each true difference."""
        variance = self.station_sd_c**2 + self.season_sd_c**2 + self.weather_sd_c**2
        climate = self.station_sd_c * norm.ppf((np.arange(STATIONS) + 0.5) / STATIONS)
        season = np.cos(2 * np.pi * (rng.random() + np.arange(days) / YEAR_DAYS))[:, None]
        labels = climate + np.sqrt(2) * self.season_sd_c * season + self.weather_sd_c * self.weather.draw(rng, days)
        shared = self.noise.shared_error.draw(rng, days)
        size = np.exp(self.restlessness * self.unrest.draw(rng, days) - self.restlessness**2)
        size *= np.sqrt(1 + self.summer * season)
        seen = rng.random(labels.shape) < REPORTING
        forecasts: list[NDArray[np.generic]] = []
        for difference in (0.0, *differences):
            error_sd_c = np.sqrt((1 - self.champion - difference) * variance)
            error = _mixed(self.noise, shared, self.noise.own_error.draw(rng, days))
            forecasts.append((labels + error_sd_c * size * error)[seen])
        return labels[seen].astype(np.float32), _days_of(seen), forecasts


def _mixed(noise: Noise, shared: Floats, own: Floats) -> Floats:
    return np.asarray(np.sqrt(1 - noise.own) * shared + np.sqrt(noise.own) * own)


def _days_of(seen: NDArray[np.bool_]) -> NDArray[np.int32]:
    return np.nonzero(seen)[0].astype(np.int32)


RAIN = Rain(
    noise=Noise(shared_error=Spells(0.19, 0.05), own_error=Spells(0.09, 0.1), own=0.063),
    weather=Spells(0.18, 0.6),
    rain_share=0.21,
    forecast_share=0.22,
    champion=0.70,
)
"""In 2015, and in the draw: models disagree on 3.8 to 5.4 % of the rows (4.5 %), a year's difference of F1 has a
standard error of 0.0033 to 0.0043 over days (0.0037), 0.95 to 1.22 times that of independent rows in variance (1.03);
the share of rainy stations correlates by 0.48 with that of the day before (0.46)."""

TEMPERATURE = Temperature(
    noise=Noise(shared_error=Spells(0.2, 0.2), own_error=Spells(0.2, 0.4), own=0.065),
    weather=Spells(0.235, 0.75),
    station_sd_c=4.2,
    season_sd_c=5.0,
    weather_sd_c=3.7,
    restlessness=0.38,
    unrest=Spells(0.4, 0.5),
    summer=0.47,
    champion=0.893,
)
"""In 2015, and in the draw: errors of two models correlate by 0.91 to 0.96 (0.93), their kurtosis is 5.4 to 6.0 (5.9),
a year's difference of R² has a standard error of 0.0007 to 0.0017 over days (0.0012), in variance 1.7 to 3.3 times that
of independent rows (2.4). To come there without regions, where neighbours err most alike, a day's stations share more
of the errors here than they do on average in the table."""

KINDS: dict[str, Rain | Temperature] = {"rain_tomorrow": RAIN, "max_temp_tomorrow": TEMPERATURE}


@dataclass(frozen=True, slots=True)
class Judged:
    """What the rule says of one pair, with a champion that is young and with one that is due for a refresh."""

    fresh: Comparison
    standing: Comparison
    young: Verdict
    old: Verdict


def judge(gates: Gates, fresh: Exam, standing: Exam, challenger: int, seed: int) -> Judged:
    """The real comparison and the real decision on the forecasts of champion (0) and this challenger."""

    def compared(exam: Exam) -> Comparison:
        labels, day, forecasts = exam
        return compare(
            gates.metric, labels, day,
            champion=forecasts[0], challenger=forecasts[challenger], margin=gates.margin, seed=seed,
        )  # fmt: skip

    found, guard = compared(fresh), compared(standing)

    def verdict(age_days: int) -> Verdict:
        return decide(
            Evidence(
                challenger=Contender("2", "challenger", _TUNED),
                champion=Contender("1", "champion", _TUNED - timedelta(days=age_days)),
                test=found.challenger,
                baselines={"persistence": 0.0},
                standing_exam=guard.challenger,
                standing_exam_rows=guard.rows,
                standing=guard,
                fresh=found,
            ),
            gates,
        ).verdict

    return Judged(found, guard, verdict(gates.refresh_age_days), verdict(gates.refresh_age_days + 1))


_TUNED = date.fromordinal(730_000)  # any day: only differences of days count


def pair_of(target: str, gates: Gates, days: int, seed: int) -> list[Judged]:
    """One champion against a challenger of each step of STEPS, on exams of their own."""
    rng = np.random.default_rng(seed)
    differences = tuple(step * gates.margin for step in STEPS)
    fresh, standing = (KINDS[target].exams(rng, length, differences) for length in (days, STANDING_DAYS))
    return [judge(gates, fresh, standing, i + 1, seed) for i in range(len(STEPS))]


def campaign_of(target: str, gates: Gates, difference: float, seed: int) -> list[Judged]:
    """One champion asked about LOOKS times, each time against a new challenger on the newest fresh exam."""
    rng = np.random.default_rng(seed)
    differences = (difference,) * LOOKS
    days = UNFINISHED_TEST_DAYS + (LOOKS - 1) * LOOK_EVERY_DAYS
    all_days, standing = (KINDS[target].exams(rng, length, differences) for length in (days, STANDING_DAYS))
    return [judge(gates, _window(all_days, look), standing, look + 1, seed) for look in range(LOOKS)]


def _window(exam: Exam, look: int) -> Exam:
    labels, day, forecasts = exam
    first = look * LOOK_EVERY_DAYS
    inside = (day >= first) & (day < first + UNFINISHED_TEST_DAYS)
    return labels[inside], day[inside], [forecast[inside] for forecast in forecasts]


@dataclass(frozen=True, slots=True)
class Tally:
    """How one target's pairs and campaigns were decided; shares, by (days, step) and by step of a campaign."""

    better: dict[tuple[int, float], float]
    refresh: dict[tuple[int, float], float]
    rejected: dict[tuple[int, float], float]
    significant: dict[tuple[int, float], float]
    looks_better: float
    looks_worse: float
    looks_same: float
    wrong_of_promoted: float
    pairs: int
    campaigns: int


def simulate(
    target: str,
    gates: Gates,
    *,
    pairs: int,
    campaigns: int,
    seed: int,
    each: Callable[..., Iterator[list[Judged]]] = map,
) -> Tally:
    """All pairs and campaigns of a target; the same for a seed, whatever `each` (a pool's map) does with them."""
    better: dict[tuple[int, float], float] = {}
    refresh, rejected, significant = dict(better), dict(better), dict(better)
    for days in FRESH_DAYS:
        seeds = [int(state) for state in np.random.SeedSequence([seed, days]).generate_state(pairs)]
        drawn = list(each(pair_of, *zip(*((target, gates, days, one) for one in seeds), strict=True)))
        for i, step in enumerate(STEPS):
            judged = [pair[i] for pair in drawn]
            better[days, step] = _share(pair.young is Verdict.DEPLOY for pair in judged)
            refresh[days, step] = _share(pair.old is Verdict.DEPLOY for pair in judged)
            rejected[days, step] = _share(pair.young is Verdict.REJECT for pair in judged)
            significant[days, step] = _share(
                pair.fresh.classical is not None and pair.fresh.classical.p_value < WRONG_AT_MOST for pair in judged
            )
    seeds = [int(state) for state in np.random.SeedSequence([seed, LOOKS]).generate_state(campaigns)]
    same, worse = (
        list(each(campaign_of, *zip(*((target, gates, difference, one) for one in seeds), strict=True)))
        for difference in (0.0, -gates.margin)
    )
    promoted = sum(better.values())
    return Tally(
        better=better,
        refresh=refresh,
        rejected=rejected,
        significant=significant,
        looks_better=_share(any(look.young is Verdict.DEPLOY for look in looks) for looks in same),
        looks_worse=_share(any(look.old is Verdict.DEPLOY for look in looks[OLD_FROM_LOOK:]) for looks in worse),
        looks_same=_share(any(look.old is Verdict.DEPLOY for look in looks[OLD_FROM_LOOK:]) for looks in same),
        wrong_of_promoted=sum(share for (_, step), share in better.items() if step <= 0) / promoted
        if promoted
        else 0.0,
        pairs=pairs,
        campaigns=campaigns,
    )


def _share(hits: Iterable[bool]) -> float:
    return float(np.mean(list(hits)))


def show(report: Report, target: str, gates: Gates, tally: Tally) -> None:
    """The table of a target, then what may not be more than WRONG_AT_MOST."""
    report.say(f"\n{target}: {gates.metric}, margin {gates.margin:g}, {tally.pairs} pairs a column")
    report.say(f"{'true difference, in margins':<38}" + "".join(f"{step:>7g}" for step in STEPS))
    for days in FRESH_DAYS:
        for name, shares in (
            ("promoted as better", tally.better),
            ("promoted as better or refresh", tally.refresh),
            ("rejected by the standing exam", tally.rejected),
            ("the classical test says p < 0.05", tally.significant),
        ):
            report.say(f"{days:>3} days: {name:<28}" + "".join(f"{shares[days, step]:>7.3f}" for step in STEPS))
    report.say()
    for days in FRESH_DAYS:
        for name, share in (
            ("promoted as better at 0", tally.better[days, 0]),
            ("refreshed at minus the margin", tally.refresh[days, -1]),
        ):
            report.figure(f"{target} {days} d: {name}", share, "", at_most=WRONG_AT_MOST)
        for step in (1, 2, 3):
            report.figure(f"{target} {days} d: power at {step} margins", tally.better[days, step], "")
        report.figure(f"{target} {days} d: refreshed at 0", tally.refresh[days, 0], "", note="wanted")
    report.figure(f"{target}: wrong, of all promoted as better", tally.wrong_of_promoted, "", at_most=WRONG_AT_MOST)
    looks = f"{target} {LOOKS} looks"
    report.figure(f"{looks}: better at 0", tally.looks_better, "", at_most=WRONG_AT_MOST)
    report.figure(f"{looks}: refreshed at minus the margin", tally.looks_worse, "", note="each look has its own 5 %")
    report.figure(f"{looks}: refreshed at 0", tally.looks_same, "", note="wanted")


def draw(tallies: dict[str, tuple[Gates, Tally]], file: Path) -> None:
    """The power curves, one panel per target and length of exam."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(FRESH_DAYS), 3.1 * len(tallies) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(tallies), len(FRESH_DAYS), squeeze=False, sharey=True)
    for (target, (gates, tally)), row in zip(tallies.items(), axes, strict=True):
        for days, axis in zip(FRESH_DAYS, row, strict=True):
            for name, shares, colour in (
                ("champion old: better, or refresh", tally.refresh, "#d6604d"),
                ("champion young: better", tally.better, "#2166ac"),
            ):
                heights = [shares[days, step] for step in STEPS]
                axis.plot([step * gates.margin for step in STEPS], heights, "o-", color=colour, ms=4, label=name)
            axis.axhline(WRONG_AT_MOST, color="#8a8f98", lw=0.9, ls="--")
            for step in (-1, 0):
                axis.axvline(step * gates.margin, color="#d9dde2", lw=0.9, zorder=0)
            axis.set_title(f"{target}, fresh exam of {days} days", loc="left", fontsize=10, fontweight="bold")
            axis.set_xlabel(f"true difference in {gates.metric} (margin {gates.margin:g})")
            axis.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("share promoted")
    axes[0][0].legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(0, 0.93))
    figure.savefig(file, dpi=130)


def main() -> None:
    """Parse, simulate each target, print."""
    options_of = parser(__doc__)
    options_of.add_argument("--pairs", type=int, default=30, help="champions of each target and length of exam")
    options_of.add_argument("--campaigns", type=int, default=30, help="champions asked about at 12 looks, twice")
    options_of.add_argument("--targets", nargs="+", default=[name for name in KINDS if name in TARGETS])
    options_of.add_argument("--margin", type=float, help="try this margin instead of the target's own")
    options_of.add_argument("--workers", type=int, default=2)
    options_of.add_argument("--seed", type=int, default=1)
    options_of.add_argument("--plot", type=Path, metavar="FILE", help="also draw the power curves there, as PNG")
    options = options_of.parse_args()
    report = Report("how often the promotion rule is wrong", options.json)
    clock = time.perf_counter()
    tallies: dict[str, tuple[Gates, Tally]] = {}
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for target in options.targets:
            gates = Gates.of(TARGETS[target])
            if options.margin is not None:
                gates = replace(gates, margin=options.margin)
            tally = simulate(
                target,
                gates,
                pairs=options.pairs,
                campaigns=options.campaigns,
                seed=options.seed,
                each=partial(pool.map, chunksize=4),
            )
            tallies[target] = gates, tally
            show(report, target, gates, tally)
    decided = sum(
        tally.pairs * len(STEPS) * len(FRESH_DAYS) + 2 * tally.campaigns * LOOKS for _, tally in tallies.values()
    )
    report.say()
    report.figure("comparisons on two exams, decided", decided, "")
    report.figure("1,000 promotions", (time.perf_counter() - clock) / decided * 1000, "s", at_most=120)
    if options.plot is not None:
        draw(tallies, options.plot)
    report.close()


if __name__ == "__main__":
    main()
