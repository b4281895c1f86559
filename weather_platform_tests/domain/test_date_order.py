"""Day first or month first: decided from all dates of a file and the month it names, and never guessed."""

import numpy as np
import pyarrow as pa
import pytest

from weather_platform.domain.date_order import DateOrder, UndecidedOrderError

NOVEMBER_2009 = (2009 - 1970) * 12 + 10


def decided(*dates: str, month: int | None = None, hint: int | None = None, blocks: int = 1) -> bool:
    order = DateOrder(month, hint)
    for some in np.array_split(np.array(dates, dtype=object), blocks):
        order.add(pa.array(list(some), pa.string()).dictionary_encode(), np.arange(2, 2 + len(some)))
    return order.month_first()


@pytest.mark.parametrize(
    ("dates", "month_first"),
    [
        (["2009-11-03", "2009/11/4", "NA"], False),
        (["3/11/2009", "13/11/2009"], False),
        (["11/3/2009", "11/13/2009"], True),
        (["13/11/2009", "3/11/2009", "2009-01-02"], False),
        (["5/5/2009", "12/12/2009"], False),  # the same in both orders
        (["31/2/2009", "5/5/2009"], False),  # impossible in both
        (["1/08/2014", "2/08/2014"], False),
        (["1/08/2014", "10/08/2014", "2009-01-02"], False),
        ([*(f"{day}/11/2009" for day in range(1, 31)), "11/30/2009"], False),
        ([*(f"11/{day}/2009" for day in range(1, 31)), "30/11/2009"], True),
    ],
)
@pytest.mark.parametrize("blocks", [1, 2])
def test_dates_that_allow_one_order_decide(dates: list[str], month_first: bool, blocks: int) -> None:
    assert decided(*dates, blocks=blocks) is month_first


@pytest.mark.parametrize(
    "dates",
    [
        ["3/4/2009"],
        ["03/04/2009"],
        ["1/08/2014", "08/01/2014"],
        ["1/08/2014", "1/8/2014"],
        ["10/08/2014"],
        ["3/4/2009", "31/2/2009", "NA", ""],
        ["13/11/2009", "11/13/2009"],
        ["3/11/2009"] * 50 + ["13/11/2009"] * 9 + ["11/13/2009"] * 9,
    ],
)
def test_dates_that_allow_both_orders_or_none_are_not_guessed(dates: list[str]) -> None:
    with pytest.raises(UndecidedOrderError, match=r"with the day first and .* with the month first|has the day first,"):
        decided(*dates)


@pytest.mark.parametrize(
    ("dates", "month_first"),
    [
        (["1/11/2009"], False),
        (["11/1/2009"], True),
        (["11/1/2009", "11/2/2009", "13/11/2009"], True),  # two rows of the month against one
        (["11/11/2009"], False),
        (["3/4/2009"], False),  # of another month in both orders
    ],
)
def test_the_month_that_the_file_is_of_decides(dates: list[str], month_first: bool) -> None:
    assert decided(*dates, month=NOVEMBER_2009, hint=NOVEMBER_2009) is month_first


def test_a_month_in_the_name_decides_only_where_all_dates_agree() -> None:
    assert decided("11/1/2009", "11/11/2009", hint=NOVEMBER_2009) is True
    assert decided("1/11/2009", "11/11/2009", hint=NOVEMBER_2009) is False
    assert decided("13/12/2009", "11/1/2009", hint=NOVEMBER_2009) is False  # the dates come before the name
    for dates in (["11/1/2009", "12/1/2009"], ["11/1/2009", "1/11/2009"]):
        with pytest.raises(UndecidedOrderError, match="with the day first and"):
            decided(*dates, hint=NOVEMBER_2009)
