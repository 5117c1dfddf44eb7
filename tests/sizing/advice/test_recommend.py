"""The recommendation: cases as data, and what holds for every wish."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sizing.advice.needs import load_needs, ranked
from sizing.advice.recommend import Advice, recommend
from sizing.advice.wish import Hardware, Wish
from sizing.errors import BadRequest, DoesNotFit, KitError
from sizing.facts.catalogue import load_facts
from sizing.request.request import Load

FACTS = load_facts()
CASES = sorted((Path(__file__).parent / "cases").glob("*.toml"))


def wish_of(table: dict[str, Any]) -> Wish:
    hardware = dict(table["hardware"])
    if "usd_per_hour" in hardware:
        hardware["usd_per_hour"] = Decimal(str(hardware["usd_per_hour"]))
    return Wish(**{**table["wish"], "needs": tuple(table["wish"]["needs"])}, hardware=Hardware(**hardware))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_wish_gets_the_answer_that_the_facts_give(path: Path) -> None:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    wish, expect = wish_of(table), table["expect"]
    if "refused" in expect:
        with pytest.raises((DoesNotFit, BadRequest)) as refusal:
            recommend(wish, FACTS)
        told = "\n".join(refusal.value.problems)
        assert [word for word in (expect["refused"], *expect.get("also", ())) if word not in told] == []
        return
    advice = recommend(wish, FACTS)
    top = advice.recommendations[0]
    assert top.model.key == expect["top"], table["why"]
    assert top.licence.id == expect["licence"]
    assert top.plan.model.precision == expect.get("precision", top.plan.model.precision)
    assert expect.get("gives_up", "") in "\n".join(top.gives_up)
    passed = {one.model.key: one.reason for one in advice.passed_over}
    assert {key: why for key, why in expect.get("passed", {}).items() if why not in passed.get(key, "")} == {}


WISHES = [
    Wish((need,), hardware, commercial)
    for need in load_needs()
    for hardware in (Hardware(gpu="RTX 3090", count=2), Hardware(gpu="H100", memory_gib=512), Hardware(gpu="A10G"))
    for commercial in (True, False)
]


def answered(wish: Wish) -> Advice | None:
    try:
        return recommend(wish, FACTS)
    except DoesNotFit:
        return None


@pytest.mark.parametrize("wish", WISHES, ids=lambda wish: f"{wish.needs[0]}-{wish.hardware.gpu}-{wish.commercial}")
def test_answers_come_best_first_meet_their_targets_and_may_be_sold_where_asked(wish: Wish) -> None:
    advice = answered(wish)
    if advice is None:
        return
    needs = [load_needs()[name] for name in wish.needs]
    order = [model.key for model in ranked(list(FACTS.models.values()), needs)]
    places = [order.index(one.model.key) for one in advice.recommendations]
    assert places == sorted(places)
    for one in advice.recommendations:
        targets = one.plan.request.targets
        assert one.plan.estimates.ttft_s.mean * 1000 <= (targets.ttft_ms or 0)
        assert one.plan.estimates.tpot_s is not None
        assert one.plan.estimates.tpot_s.mean * 1000 <= (targets.tpot_ms or 0)
        assert not wish.commercial or one.licence.commercial in ("yes", "conditions")
        assert one.model.name in one.verdict
    assert all(passed.reason for passed in advice.passed_over)


@pytest.mark.parametrize("stated", ["no", "unknown"])
def test_what_may_not_be_sold_for_all_one_knows_is_no_answer_to_somebody_who_sells(stated: str) -> None:
    wish = Wish(("text",), Hardware(gpu="RTX 4090"), commercial=True)
    best = recommend(wish, FACTS).recommendations[0]
    doubtful = best.licence.model_copy(update={"commercial": stated})
    facts = FACTS.model_copy(update={"licences": {**FACTS.licences, best.licence.id: doubtful}})
    advice = recommend(wish, facts)
    assert best.licence.id not in {one.licence.id for one in advice.recommendations}
    assert best.model.key in {one.model.key for one in advice.passed_over}
    assert best.model.key in {
        one.model.key for one in recommend(replace(wish, commercial=False), facts).recommendations
    }


def test_every_answer_keeps_the_budget_and_the_alternatives_are_other_kinds_of_place() -> None:
    advice = recommend(Wish(("text",), Hardware(usd_per_hour=Decimal(3)), True), FACTS)
    for one in advice.recommendations:
        made = (one.plan, *one.alternatives)
        kinds = [each.placement.kind for each in made]
        costs = [each.cost.usd_per_hour for each in made]
        assert len(set(kinds)) == len(kinds)
        assert costs == sorted(costs)
        assert costs[-1] <= 3


def test_home_against_cloud_says_what_sets_the_cards_apart() -> None:
    both = recommend(Wish(("text",), Hardware(usd_per_hour=Decimal(3)), True), FACTS)
    assert [note.split(":")[0] for note in both.notes] == ["ECC", "24 x 7", "Driver licence", "Warranty"]  # 350 W both
    own = recommend(Wish(("text",), Hardware(gpu="RTX 4090"), True), FACTS)
    assert [note for note in own.notes if "electricity" in note]


def test_no_two_answers_are_built_alike() -> None:
    advice = recommend(Wish(("text",), Hardware(gpu="H100", count=2, memory_gib=512), True, answers=8), FACTS)
    builds = [(one.model.shape, one.model.params) for one in advice.recommendations]
    assert len(builds) == 8
    assert all(builds.count(build) == 1 for build in builds)


@pytest.mark.parametrize("gpu", ["RTX 4090", "RTX 3060"])
@pytest.mark.parametrize("need", ["text", "code", "vision"])
def test_more_cards_never_make_the_best_answer_worse(need: str, gpu: str) -> None:
    order = [model.key for model in ranked(list(FACTS.models.values()), [load_needs()[need]])]
    tops = [recommend(Wish((need,), Hardware(gpu=gpu, count=n), True, answers=1), FACTS) for n in range(1, 9)]
    places = [order.index(advice.recommendations[0].model.key) for advice in tops]
    assert places == sorted(places, reverse=True)


@pytest.mark.parametrize(("count", "tp", "idle"), [(3, 2, 1), (5, 4, 1), (7, 4, 3)])
def test_cards_that_no_replica_takes_are_said_to_stay_idle(count: int, tp: int, idle: int) -> None:
    made = recommend(Wish(("text",), Hardware(gpu="RTX 4090", count=count), True, answers=1), FACTS).recommendations[0]
    assert (made.plan.engine.tp, made.plan.placement.gpus_per_host, made.plan.placement.replicas) == (tp, count, 1)
    assert [said for said in made.plan.warnings if said.startswith(f"{idle} of the {count} cards stay")]


def test_a_whole_host_of_cards_at_work_has_none_idle() -> None:
    made = recommend(Wish(("text",), Hardware(gpu="RTX 4090", count=2), True, answers=1), FACTS).recommendations[0]
    assert not [said for said in made.plan.warnings if "idle" in said]


def test_a_home_plan_over_a_household_circuit_repeats_what_its_bill_says() -> None:
    sentences = {
        count: [
            said
            for said in recommend(Wish(("text",), Hardware(gpu="RTX 4090", count=count), True, answers=1), FACTS)
            .recommendations[0]
            .plan.warnings
            if "A circuit of 120 V" in said
        ]
        for count in (1, 8)
    }
    assert sentences[1] == []
    assert "230 V" in sentences[8][0]


def test_images_and_sound_are_planned_where_they_are_needed_and_only_there() -> None:
    def load(need: str) -> Load:
        advice = recommend(Wish((need,), Hardware(gpu="RTX 4090"), True, answers=1), FACTS)
        return advice.recommendations[0].plan.request.load

    assert load("vision").images == load_needs()["vision"].images is not None
    assert load("audio").audio_s == load_needs()["audio"].audio_s is not None
    assert (load("text").images, load("text").audio_s) == (None, None)


def test_a_budget_looks_at_home_hosts_of_every_card_but_at_none_larger_than_a_desktop() -> None:
    advice = recommend(Wish(("text",), Hardware(usd_per_hour=Decimal(1)), True), FACTS)
    homes = [one.plan.placement for one in advice.recommendations if one.plan.placement.kind == "home"]
    assert {placement.gpu for placement in homes} - {host.gpu for host in FACTS.hosts.values()}
    assert all(placement.gpus_per_host <= FACTS.bill.desktop_cards for placement in homes)


def test_the_notes_error_about_the_480b_is_told_where_code_is_asked() -> None:
    advice = recommend(Wish(("code",), Hardware(gpu="RTX 4090"), True), FACTS)
    assert [erratum for erratum in advice.errata if "480B runs on one RTX 4090" in erratum.claim]


def test_equal_wishes_get_equal_advice() -> None:
    wish = Wish(("math",), Hardware(gpu="RTX 5090"), False)
    assert recommend(wish, FACTS) == recommend(wish, FACTS)


NAMES = st.sampled_from(["text", "vision", "agents"]) | st.text(max_size=8)
CARDS = st.sampled_from(["RTX 4090", "a10g", "T4", "h200"]) | st.text(max_size=8)
WHOLE = st.integers(-2, 40) | st.sampled_from([10**6, 10**12, -(10**12)])
MILLISECONDS = st.none() | st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    needs=st.lists(NAMES, max_size=3),
    gpu=CARDS,
    count=WHOLE,
    memory_gib=WHOLE,
    numbers=st.tuples(*[st.none() | WHOLE] * 3),
    limits=st.tuples(MILLISECONDS, MILLISECONDS),
    answers=st.none() | WHOLE,
)
def test_any_wish_gets_advice_or_sentences(
    needs: list[str],
    gpu: str,
    count: int,
    memory_gib: int,
    numbers: tuple[int | None, int | None, int | None],
    limits: tuple[float | None, float | None],
    answers: int | None,
) -> None:
    wish = Wish(tuple(needs), Hardware(gpu=gpu, count=count, memory_gib=memory_gib), True, *numbers, *limits, answers)
    try:
        answers_given = len(recommend(wish, FACTS).recommendations)
    except KitError as refusal:
        told = refusal.problems
    else:
        assert 1 <= answers_given <= (answers or 3)
        return
    assert told
    assert all(problem.strip() for problem in told)


@pytest.mark.parametrize(
    ("hardware", "says"),
    [
        (Hardware(usd_per_hour=Decimal("NaN")), "a budget of NaN"),
        (Hardware(usd_per_hour=Decimal("1e-400")), "usd_per_hour"),
        (Hardware(usd_per_hour=Decimal(1), region="mars-1"), "mars-1"),
        (Hardware(host="home-1x-rtx-4090", count=2), "belong to a GPU of your own"),
        (Hardware(gpu="RTX 4090", region="eu-west-1"), "belongs to a budget"),
    ],
)
def test_hardware_that_cannot_be_is_a_sentence(hardware: Hardware, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        recommend(Wish(("text",), hardware, True), FACTS)
