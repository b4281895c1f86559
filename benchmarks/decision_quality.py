"""How often the promotion rule is wrong, and what that costs: pairs of models with a known true difference, judged by
the real rule.

    python benchmarks/decision_quality.py [--pairs 30] [--campaigns 30] [--targets rain_tomorrow ...]
        [--workers 2] [--seed 1] [--plot FILE] [--json FILE]

Each pair is a champion and a challenger whose forecasts of a fresh and of a standing exam are drawn with the noise of
real models, then go through `compare()` and `decide()` as in a promotion. A true difference is one of the proper score
(Brier or RMSE) in the long run; above 0 the challenger is better. The rule promotes what is not clearly worse, so three
questions are asked of the answers:

* wrong promotions: how often is a challenger promoted that is worse, and what is the expected loss, the share promoted
  times the difference
* missed: how often is one passed over that is better
* looks: in a year of quarterly looks, each with a new challenger and a fresh exam of its own, how often is one of them
  promoted when all are worse

Beside these, the loss and the gain of one look when it is not known what the challenger is worth: true differences
around 0 with a standard deviation of one step, which is as much as two seeds differ by on an exam of 90 days.

No file is read. The noise is that of models trained on the real table, see `RAIN` and `TEMPERATURE`.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
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

STEPS = (-4, -3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 4)
"""True differences, in units of UNIT: how much better the challenger is."""

UNIT = {"brier": 0.001, "rmse": 0.02}
"""Of the score of each kind of target. A year of new data was worth 0.0015 of Brier, another seed up to 0.0002 in the
long run and 0.0010 on an exam of 90 days."""

LOOKS, LOOK_EVERY_DAYS = 4, 91
"""A year of looks: the cooldown leaves one a quarter."""

SIGNIFICANT = 0.05
CLEARLY_WORSE_STEP = -2
"""Two units: more than a year of data is worth."""

Floats = NDArray[np.float64]
Said = tuple[Floats, NDArray[np.generic]]
"""What a model says (a probability or a value), and what the primary metric judges of it (yes or no, or the value)."""

Exam = tuple[NDArray[np.float32], NDArray[np.int32], list[Said]]
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
    """Rain and forecasts of it are thresholds on a truth and on scores that correlate with it, all of variance 1; so
    the probability that belongs to a score, and the F1 and Brier score of a correlation, are known exactly."""

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
        forecasts: list[Said] = []
        for difference in (0.0, *differences):
            skill = _correlation_of_brier(self.score - difference, self.rain_share)
            error = _mixed(self.noise, shared, self.noise.own_error.draw(rng, days))
            score = (skill * truth + np.sqrt(1 - skill**2) * error)[seen]
            forecasts.append((_probability(score, skill, self.rain_share), score > norm.isf(self.forecast_share)))
        labels = (truth > norm.isf(self.rain_share)).astype(np.float32)
        return labels[seen], _days_of(seen), forecasts

    @property
    def score(self) -> float:
        """The Brier score of the champion in the long run."""
        return _brier(_correlation(self.champion, self.rain_share, self.forecast_share), self.rain_share)


def _probability(score: Floats, correlation: float, rain_share: float) -> Floats:
    """Of rain, given a score: the truth is then normal around correlation * score."""
    return np.asarray(norm.sf((norm.isf(rain_share) - correlation * score) / np.sqrt(1 - correlation**2)))


def _brier(correlation: float, rain_share: float) -> float:
    """Of calibrated probabilities: the mean of p (1 - p)."""

    def at(score: float) -> float:
        probability = float(_probability(np.asarray(score), correlation, rain_share))
        return float(norm.pdf(score)) * probability * (1 - probability)

    return float(quad(at, -8, 8)[0])


@cache
def _correlation_of_brier(score: float, rain_share: float) -> float:
    """The correlation of score and truth that gives this Brier score in the long run."""
    return float(brentq(lambda correlation: _brier(correlation, rain_share) - score, 0.01, 0.999))


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

    A true difference is that of the RMSE over a year; in summer, when errors are larger, it is more than in winter.
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
        climate = self.station_sd_c * norm.ppf((np.arange(STATIONS) + 0.5) / STATIONS)
        season = np.cos(2 * np.pi * (rng.random() + np.arange(days) / YEAR_DAYS))[:, None]
        labels = climate + np.sqrt(2) * self.season_sd_c * season + self.weather_sd_c * self.weather.draw(rng, days)
        shared = self.noise.shared_error.draw(rng, days)
        size = np.exp(self.restlessness * self.unrest.draw(rng, days) - self.restlessness**2)
        size *= np.sqrt(1 + self.summer * season)
        seen = rng.random(labels.shape) < REPORTING
        forecasts: list[Said] = []
        for difference in (0.0, *differences):
            error = _mixed(self.noise, shared, self.noise.own_error.draw(rng, days))
            value = (labels + (self.score - difference) * size * error)[seen]
            forecasts.append((value, value))
        return labels[seen].astype(np.float32), _days_of(seen), forecasts

    @property
    def score(self) -> float:
        """The RMSE of the champion in the long run."""
        variance = self.station_sd_c**2 + self.season_sd_c**2 + self.weather_sd_c**2
        return float(np.sqrt((1 - self.champion) * variance))


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
    """What the rule says of one pair."""

    fresh: Comparison
    standing: Comparison
    verdict: Verdict


def judge(gates: Gates, fresh: Exam, standing: Exam, challenger: int, seed: int) -> Judged:
    """The real comparison and the real decision on the forecasts of champion (0) and this challenger."""

    def compared(metric: str, exam: Exam, at: int) -> Comparison:
        labels, day, forecasts = exam
        return compare(
            metric, labels, day, champion=forecasts[0][at], challenger=forecasts[challenger][at], seed=seed
        )  # fmt: skip

    found, guard = compared(gates.score, fresh, 0), compared(gates.metric, standing, 1)
    evidence = Evidence(
        challenger=Contender("2", "challenger", _TUNED),
        champion=Contender("1", "champion", _TUNED - timedelta(days=gates.cooldown_days)),
        test=guard.challenger,
        baselines={"persistence": 0.0},
        standing_exam=guard.challenger,
        standing_exam_rows=guard.rows,
        standing=guard,
        fresh=found,
    )
    return Judged(found, guard, decide(evidence, gates).verdict)


_TUNED = date.fromordinal(730_000)  # any day: only differences of days count


def pair_of(target: str, gates: Gates, days: int, seed: int) -> list[Judged]:
    """One champion against a challenger of each step of STEPS, on exams of their own."""
    rng = np.random.default_rng(seed)
    differences = tuple(step * UNIT[gates.score] for step in STEPS)
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
    return labels[inside], day[inside], [(said[inside], judged[inside]) for said, judged in forecasts]


@dataclass(frozen=True, slots=True)
class Tally:
    """How one target's pairs and campaigns were decided; shares, by (days, step) and by step of a campaign."""

    promoted: dict[tuple[int, float], float]
    rejected: dict[tuple[int, float], float]
    significant: dict[tuple[int, float], float]
    looks: dict[float, float]
    error: dict[int, float]
    """Standard deviation of the measured difference of equals, by days."""
    pairs: int
    campaigns: int

    def losses(self, days: int, unit: float) -> dict[float, float]:
        """Expected loss of a look at a challenger that is worse by so many steps: share promoted times difference."""
        return {step: self.promoted[days, step] * -step * unit for step in STEPS if step < 0}

    def of_unknown(self, days: int, unit: float) -> tuple[float, float, float]:
        """Expected loss, gain, and gain passed over of one look at a challenger whose worth is normal around 0."""
        worth = np.linspace(-4, 4, 801)
        weight = norm.pdf(worth) / norm.pdf(worth).sum()
        share = np.interp(worth, STEPS, [self.promoted[days, step] for step in STEPS])
        loss = float(np.sum(weight * share * np.maximum(-worth, 0))) * unit
        gain = float(np.sum(weight * share * np.maximum(worth, 0))) * unit
        return loss, gain, float(np.sum(weight * (1 - share) * np.maximum(worth, 0))) * unit


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
    promoted: dict[tuple[int, float], float] = {}
    rejected, significant = dict(promoted), dict(promoted)
    error: dict[int, float] = {}
    for days in FRESH_DAYS:
        seeds = [int(state) for state in np.random.SeedSequence([seed, days]).generate_state(pairs)]
        drawn = list(each(pair_of, *zip(*((target, gates, days, one) for one in seeds), strict=True)))
        for i, step in enumerate(STEPS):
            judged = [pair[i] for pair in drawn]
            promoted[days, step] = _share(pair.verdict is Verdict.DEPLOY for pair in judged)
            rejected[days, step] = _share(pair.verdict is Verdict.REJECT for pair in judged)
            significant[days, step] = _share(
                pair.fresh.classical is not None and pair.fresh.classical.p_value < SIGNIFICANT for pair in judged
            )
        error[days] = float(np.std([pair[STEPS.index(0)].fresh.difference for pair in drawn]))
    seeds = [int(state) for state in np.random.SeedSequence([seed, LOOKS]).generate_state(campaigns)]
    looks = {}
    for step in (step for step in STEPS if step < 0):
        asked = ((target, gates, step * UNIT[gates.score], one) for one in seeds)
        drawn = list(each(campaign_of, *zip(*asked, strict=True)))
        looks[step] = _share(any(look.verdict is Verdict.DEPLOY for look in campaign) for campaign in drawn)
    return Tally(promoted, rejected, significant, looks, error, pairs, campaigns)


def _share(hits: Iterable[bool]) -> float:
    return float(np.mean(list(hits)))


def show(report: Report, target: str, gates: Gates, tally: Tally) -> None:
    """The table of a target, then its figures."""
    unit = UNIT[gates.score]
    report.say(f"\n{target}: {gates.score}, steps of {unit:g}, {tally.pairs} pairs a column")
    report.say(f"{'how much better it is, in steps':<40}" + "".join(f"{step:>7g}" for step in STEPS))
    for days in FRESH_DAYS:
        for name, shares in (
            ("promoted", tally.promoted),
            ("rejected by the standing exam", tally.rejected),
            ("the classical test says p < 0.05", tally.significant),
        ):
            report.say(f"{days:>3} days: {name:<30}" + "".join(f"{shares[days, step]:>7.3f}" for step in STEPS))
        losses = tally.losses(days, unit)
        report.say(
            f"{days:>3} days: {'expected loss, in steps':<30}"
            + "".join(f"{losses[step] / unit:>7.3f}" for step in STEPS if step < 0)
        )
    report.say(f"{'one of four looks promoted':<40}" + "".join(f"{share:>7.3f}" for share in tally.looks.values()))
    report.say()
    for days in FRESH_DAYS:
        of = f"{target} {days} d"
        report.figure(f"{of}: a difference of 0 is measured within", tally.error[days], gates.score)
        report.figure(f"{of}: wrong, worse by two steps", tally.promoted[days, CLEARLY_WORSE_STEP], "")
        report.figure(f"{of}: missed, as good", 1 - tally.promoted[days, 0], "")
        report.figure(f"{of}: missed, better by a step", 1 - tally.promoted[days, 1], "")
        report.figure(f"{of}: largest expected loss", max(tally.losses(days, unit).values()), gates.score)
        loss, gain, passed_over = tally.of_unknown(days, unit)
        report.figure(f"{of}: loss of an unknown one", loss, gates.score)
        report.figure(f"{of}: gain of an unknown one", gain, gates.score, note=f"{passed_over:.6f} passed over")
    report.figure(f"{target} {LOOKS} looks: all worse by two steps", tally.looks[CLEARLY_WORSE_STEP], "")


def draw(tallies: dict[str, tuple[Gates, Tally]], file: Path) -> None:
    """The share promoted by true difference, one panel a target."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(tallies), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(tallies), squeeze=False, sharey=True)[0]
    for (target, (gates, tally)), axis in zip(tallies.items(), axes, strict=True):
        unit = UNIT[gates.score]
        for days, colour in zip(FRESH_DAYS, ("#d6604d", "#2166ac"), strict=True):
            heights = [tally.promoted[days, step] for step in STEPS]
            axis.plot([step * unit for step in STEPS], heights, "o-", color=colour, ms=4, label=f"{days} days")
        axis.axvline(0, color="#d9dde2", lw=0.9, zorder=0)
        axis.set_title(target, loc="left", fontsize=10, fontweight="bold")
        axis.set_xlabel(f"how much better it is in {gates.score}")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("share promoted")
    axes[0].legend(frameon=False, fontsize=8.5, title="fresh exam of")
    figure.savefig(file, dpi=130)


def main() -> None:
    """Parse, simulate each target, print."""
    options_of = parser(__doc__)
    options_of.add_argument("--pairs", type=int, default=30, help="champions of each target and length of exam")
    options_of.add_argument("--campaigns", type=int, default=30, help="champions asked about at 4 looks, by step")
    options_of.add_argument("--targets", nargs="+", default=[name for name in KINDS if name in TARGETS])
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
        tally.pairs * len(STEPS) * len(FRESH_DAYS) + len(tally.looks) * tally.campaigns * LOOKS
        for _, tally in tallies.values()
    )
    report.say()
    report.figure("comparisons on two exams, decided", decided, "")
    report.figure("1,000 promotions", (time.perf_counter() - clock) / decided * 1000, "s", at_most=120)
    if options.plot is not None:
        draw(tallies, options.plot)
    report.close()


if __name__ == "__main__":
    main()
