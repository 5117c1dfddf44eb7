import pytest

from sizing.plan.aims import aims, limits_s
from sizing.plan.plan import Estimate
from sizing.request.request import Targets


class Seen:
    ttft_s = Estimate(mean=0.2, low=0.1, high=0.3, p95=0.5, basis="calculated", source="by hand")
    tpot_s = Estimate(mean=0.04, low=0.03, high=0.05, basis="calculated", source="by hand")


def test_an_aim_holds_the_asked_statistic_and_the_slow_end_of_its_band() -> None:
    (ttft,) = aims(Targets(ttft_ms=600, statistic="p95"), Seen())
    assert (ttft.name, ttft.met) == ("TTFT", True)
    assert (ttft.reached_ms, ttft.slow_ms) == pytest.approx((500, 750))


def test_the_mean_stands_for_a_percentile_that_is_not_known() -> None:
    (tpot,) = aims(Targets(tpot_ms=39, statistic="p99"), Seen())
    assert tpot.reached_ms == pytest.approx(40)
    assert not tpot.met


def test_what_is_no_target_is_no_aim() -> None:
    assert aims(Targets(), Seen()) == ()


def test_alerts_hold_a_deployment_to_its_targets_and_else_to_the_slow_end_of_the_estimate() -> None:
    assert limits_s(Targets(ttft_ms=600, tpot_ms=39), Seen()) == (0.6, 0.039)
    seen = Seen()
    ttft, tpot = seen.ttft_s, seen.tpot_s
    assert tpot is not None
    assert limits_s(Targets(), seen) == pytest.approx((ttft.high, tpot.high))
    assert ttft.p95 is not None
    assert limits_s(Targets(statistic="p95"), seen)[0] == pytest.approx(ttft.p95 * ttft.high / ttft.mean)
