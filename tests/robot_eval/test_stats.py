from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_results import RATES, make_changes, make_row, make_run, make_suites, with_outcomes

from egorep.intervals import mean_interval
from robot_eval.intervals import cluster_difference, effective_size, mcnemar, mean_difference
from robot_eval.results import frame_of
from robot_eval.stats import (
    ALL_TASKS,
    Difference,
    Interval,
    cluster_wilson,
    compare,
    drop_tables,
    encoder_order,
    expected_best,
    holm,
    overall,
    paired_difference,
    result_tables,
    suite_means,
    summarise,
    table_markdown,
    table_text,
)


def flips(successes: int, episodes: int) -> list[bool]:
    return [True] * successes + [False] * (episodes - successes)


def held_out(encoder: str, seed: int, outcomes: list[bool], **changes: object) -> object:
    return with_outcomes(make_row(encoder=encoder, seed=seed, role="held_out", **changes), outcomes)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return frame_of(make_run())


@pytest.fixture(scope="module")
def summary(frame: pd.DataFrame) -> pd.DataFrame:
    return summarise(frame)


# Intervals


@pytest.mark.parametrize(("wins", "episodes"), [(0, 20), (1, 50), (13, 50), (25, 50), (50, 50)])
def test_one_cluster_is_wilsons_interval(wins: int, episodes: int) -> None:
    wanted = stats.binomtest(wins, episodes).proportion_ci(0.95, "wilson")
    got = cluster_wilson([flips(wins, episodes)])
    assert got == pytest.approx((wins / episodes, wanted.low, wanted.high))


def test_like_clusters_are_wilsons_interval_of_all_episodes() -> None:
    wanted = stats.binomtest(30, 60).proportion_ci(0.9, "wilson")
    assert cluster_wilson([flips(10, 20)] * 3, level=0.9)[1:] == pytest.approx((wanted.low, wanted.high))


def test_seeds_that_differ_widen_the_interval() -> None:
    alike, apart = cluster_wilson([flips(25, 50)] * 3), cluster_wilson([flips(n, 50) for n in (5, 25, 45)])
    assert alike.estimate == apart.estimate == 0.5
    assert apart.high - apart.low > 2 * (alike.high - alike.low)


@pytest.mark.parametrize(("wins", "edge"), [(0, 0.0), (50, 1.0)])
def test_never_degenerate_at_the_ends(wins: int, edge: float) -> None:
    interval = cluster_wilson([flips(wins, 50)] * 3)
    assert interval.estimate == edge
    assert 0.01 < interval.high - interval.low < 0.05
    assert edge in interval[1:]


def test_ragged_clusters_weigh_by_episode() -> None:
    interval = cluster_wilson([flips(8, 10), flips(10, 40)])
    assert interval.estimate == pytest.approx(18 / 50)
    assert 0 < interval.low < interval.estimate < interval.high < 1
    assert effective_size([np.array([1.0]), np.array([0.0]), np.array([1.0])]) == 3, (
        "one episode each: no clusters"
    )


def test_one_cluster_or_many_without_episodes_are_refused() -> None:
    for empty in ([], [[]], [[True], []]):
        with pytest.raises(ValueError, match="at least one episode"):
            cluster_wilson(empty)


@pytest.mark.parametrize(("correlation", "seeds", "least"), [(0.0, 3, 0.93), (0.05, 3, 0.85), (0.1, 5, 0.88)])
def test_coverage_of_beta_binomial_policies(correlation: float, seeds: int, least: float) -> None:
    generator, rate, covered, trials = np.random.default_rng(1), 0.6, 0, 300
    for _ in range(trials):
        rates = np.full(seeds, rate)
        if correlation:
            weight = (1 - correlation) / correlation
            rates = generator.beta(rate * weight, (1 - rate) * weight, seeds)
        interval = cluster_wilson([list(generator.random(50) < each) for each in rates])
        covered += interval.low <= rate <= interval.high
    assert covered / trials >= least


def test_the_mean_of_intervals_is_narrower_and_in_range() -> None:
    one = cluster_wilson([flips(50, 50)])
    mean = mean_interval([one, one, one, one])
    assert mean.estimate == mean.high == 1.0
    assert 1 - mean.low == pytest.approx((1 - one.low) / 2)
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([])


# Best of many


@pytest.mark.parametrize(
    ("evaluations", "episodes", "reads"),
    [
        pytest.param(20, 50, 0.63, id="R3M"),
        pytest.param(20, 25, 0.69, id="CortexBench"),
        pytest.param(30, 50, 0.64, id="robomimic"),
    ],
)
def test_how_far_published_rules_flatter_a_rate_of_one_half(
    evaluations: int, episodes: int, reads: float
) -> None:
    assert expected_best(0.5, evaluations, episodes) == pytest.approx(reads, abs=0.006)


def test_expected_best_agrees_with_simulation_and_its_limits() -> None:
    drawn = np.random.default_rng(0).binomial(25, 0.3, (20_000, 8)).max(axis=1).mean() / 25
    assert expected_best(0.3, 8, 25) == pytest.approx(drawn, abs=0.003)
    assert expected_best(0.3, 1, 25) == pytest.approx(0.3)
    assert (expected_best(0.0, 9, 9), expected_best(1.0, 9, 9)) == (0.0, 1.0)
    with pytest.raises(ValueError, match=r"rate=1\.5"):
        expected_best(1.5, 1, 1)


# Paired differences


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (9, 3), (3, 9), (4, 4)])
def test_mcnemar_is_the_binomial_test_of_discordant_pairs(wins: int, losses: int) -> None:
    wanted = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert mcnemar(wins, losses) == pytest.approx(wanted)


def test_the_difference_is_agresti_and_mins() -> None:
    # 20 pairs: 8 to a alone, 2 to b alone, in one cluster; the interval written out from the paper's formula.
    a, b = flips(8, 20), [False] * 8 + flips(2, 12)
    difference = cluster_difference([a], [b])
    centre, spread = 6 / 22, np.sqrt((8.5 + 2.5) - 6**2 / 22) / 22
    assert difference.estimate == pytest.approx(0.3)
    assert difference[1:3] == pytest.approx(
        (centre - 1.959964 * spread, centre + 1.959964 * spread), abs=1e-6
    )
    assert (difference.wins, difference.losses, difference.pairs) == (8, 2, 20)
    assert difference.p_value == difference.p_mcnemar == pytest.approx(stats.binomtest(2, 10).pvalue)


def test_pairs_are_matched_by_seed_and_episode_and_not_by_order() -> None:
    a, b = held_out("a", 0, [True, False, True, True]), held_out("b", 0, [True, False, True, True])
    shuffled = replace(
        b,
        episode_seeds=b.episode_seeds[::-1],
        success_any=b.success_any[::-1],
        success_last=b.success_last[::-1],
    )
    difference = paired_difference(frame_of([a]), frame_of([shuffled]))
    assert (difference.wins, difference.losses) == (0, 0)


def test_swapping_the_sides_turns_the_sign() -> None:
    rows = {
        name: frame_of([held_out(name, s, flips(n + s, 20)) for s in range(3)])
        for name, n in (("a", 12), ("b", 5))
    }
    there, back = paired_difference(rows["a"], rows["b"]), paired_difference(rows["b"], rows["a"])
    assert there[:3] == pytest.approx((-back.estimate, -back.high, -back.low))
    assert there.p_value == pytest.approx(back.p_value)


def test_seeds_that_disagree_weaken_the_test_too() -> None:
    a, b = [flips(40, 40), flips(40, 40), flips(0, 40)], [flips(0, 40), flips(10, 40), flips(20, 40)]
    difference = cluster_difference(a, b)
    assert difference.p_value > difference.p_mcnemar
    assert difference.low < 0 < difference.high, "one seed of three went the other way"


def test_a_noisy_task_weakens_the_test_over_all_tasks() -> None:
    noisy = cluster_difference([flips(40, 40), flips(0, 40)], [flips(0, 40), flips(40, 40)])
    clear = cluster_difference([flips(25, 40)] * 2, [flips(5, 40)] * 2)
    both = mean_difference([noisy, clear])
    assert both.estimate == pytest.approx(0.25)
    assert clear.p_value < both.p_mcnemar < both.p_value
    assert both.effective < noisy.effective + clear.effective


def test_unmatched_pairs_are_counted() -> None:
    a = frame_of([held_out("a", 0, flips(3, 6)), held_out("a", 1, flips(3, 6))])
    with pytest.raises(ValueError, match="6 episodes have no partner"):
        paired_difference(a, frame_of([held_out("b", 0, flips(3, 6))]))
    with pytest.raises(ValueError, match="more than one condition"):
        paired_difference(pd.concat([a, a]), a)
    with pytest.raises(ValueError, match="no held-out episodes"):
        paired_difference(frame_of([make_row()]), frame_of([make_row()]))


def test_compare_takes_all_pairs_or_a_baseline(frame: pd.DataFrame) -> None:
    everything = compare(frame)
    tasks = len(RATES["state"]) + 1
    assert len(everything) == 2 * tasks * 3
    against = compare(frame, baseline="state")
    assert set(against["encoder_b"]) == {"state"}
    assert len(against) == 2 * tasks * 2
    top = everything[(everything["task"] == ALL_TASKS) & (everything["encoder_b"] == "state")].iloc[0]
    assert top["low"] > 0
    assert (everything["p_holm"] >= everything["p_value"]).all()
    with pytest.raises(ValueError, match="baseline 'vc1'"):
        compare(frame, baseline="vc1")


def test_a_run_cut_short_says_which_pairs_are_missing(frame: pd.DataFrame) -> None:
    short = frame[~((frame["encoder"] == "random") & (frame["seed"] == 2) & (frame["task"] == "hammer-v3"))]
    table = compare(short)
    missing = table[table["note"] != ""]
    assert set(missing["task"]) == {"hammer-v3", ALL_TASKS}
    assert missing["estimate"].isna().all()
    assert missing["note"].str.contains("20 episodes have no partner").all()
    assert table[table["note"] == ""]["p_holm"].notna().all()


def test_nothing_held_out_compares_to_nothing() -> None:
    assert compare(frame_of([make_row()])).empty


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, float("nan")])[:3].tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert np.isnan(holm([float("nan"), 0.5])[0])
    assert holm([0.6, 0.9]).tolist() == [1.0, 1.0]


# Summaries


def test_last_best_and_held_out_by_hand() -> None:
    rows = []
    for seed, (early, late, fresh) in enumerate([(8, 6, 5), (3, 9, 7)]):
        rows.append(with_outcomes(make_row(seed=seed, checkpoint=1000), flips(early, 10)))
        rows.append(with_outcomes(make_row(seed=seed, checkpoint=2000), flips(late, 10)))
        rows.append(with_outcomes(make_row(seed=seed, checkpoint=1000, role="held_out"), flips(fresh, 10)))
    line = summarise(frame_of(rows)).iloc[0]
    assert line["last"] == pytest.approx(0.75)
    assert line["best"] == pytest.approx(0.85)
    assert line["held_out"] == pytest.approx(0.6)
    assert (line["n_seeds"], line["evaluations"], line["episodes"]) == (2, 2, 20)


def test_both_success_rules_are_read_off_the_same_rows() -> None:
    line = summarise(frame_of([make_row(role="held_out", success_rule="last")])).iloc[0]
    assert (line["held_out"], line["held_out_any"], line["held_out_last_step"]) == (0.5, 0.75, 0.5)


def test_the_unseen_world_has_no_last_and_no_best(summary: pd.DataFrame) -> None:
    unseen = summary[summary["variation"] == "unseen"]
    assert len(unseen) == 9
    assert unseen[["last", "best"]].isna().all().all()
    assert unseen["held_out"].notna().all()


def test_a_run_without_held_out_rows_still_summarises() -> None:
    summary = summarise(frame_of([make_row()]))
    assert np.isnan(summary["held_out"].iloc[0])
    assert summary["last"].iloc[0] == 0.75
    assert "assembly-v3" in table_text(summary)


def test_mixed_experiments_are_refused_by_name() -> None:
    rows = [make_row(demos=10, demos_fingerprint="a"), make_row(demos=25, demos_fingerprint="b")]
    with pytest.raises(ValueError, match="differ in demos, demos_fingerprint"):
        summarise(frame_of(rows))
    with pytest.raises(ValueError, match="share a policy seed"):
        summarise(frame_of([make_row(role="held_out"), make_row(role="held_out", checkpoint=9)]))


def test_overall_weighs_tasks_equally_and_only_compares_whole_rows(summary: pd.DataFrame) -> None:
    line = overall(summary).set_index(["encoder", "variation"]).loc[("random", "train")]
    tasks = summary[(summary["encoder"] == "random") & (summary["variation"] == "train")]
    assert line["held_out"] == pytest.approx(tasks["held_out"].mean())
    assert line["low"] < line["held_out"] < line["high"]
    without = summary[~((summary["encoder"] == "random") & (summary["task"] == "hammer-v3"))]
    short = overall(without).set_index(["encoder", "variation"])
    assert np.isnan(short.loc[("random", "train"), "held_out"])
    assert short.loc[("random", "train"), "tasks"] == 2
    assert short.loc[("state", "train"), "held_out"] > 0


def test_encoders_are_ordered_by_held_out_success(summary: pd.DataFrame) -> None:
    assert encoder_order(summary) == ["egovideo_tiny", "random", "state"]


# Tables


def test_tables_lead_with_held_out_intervals(summary: pd.DataFrame) -> None:
    text = table_text(summary)
    cell = summary[(summary["encoder"] == "random") & (summary["task"] == "assembly-v3")].iloc[0]
    assert f"{cell.held_out:.2f} [{cell.low:.2f}, {cell.high:.2f}]" in text
    assert "trained on variation train, judged on unseen" in text
    assert "3 policy seeds x 20 episodes" in text
    assert "Wilson" in text
    assert "Does not separate encoders: drawer-open-v3 (all at 100 %)." in text


def test_markdown_is_a_table(summary: pd.DataFrame) -> None:
    lines = [line for line in table_markdown(summary).splitlines() if line.startswith("|")]
    assert lines[0] == "| encoder | assembly-v3 | drawer-open-v3 | hammer-v3 | mean |"
    assert {line.count("|") for line in lines} == {6}


def test_suites_are_named_where_there_are_several_and_holes_are_dashes() -> None:
    rows = [
        held_out("a", 0, flips(3, 9)),
        held_out("b", 0, flips(2, 9)),
        held_out("a", 0, flips(2, 9), suite="kitchen"),
    ]
    table = result_tables(summarise(frame_of(rows)))[0]
    assert table.columns == ["kitchen", "metaworld", "mean"]
    cells = dict(zip(table.encoders, table.cells, strict=True))
    assert isinstance(cells["a"][2], Interval)
    assert cells["b"][0] is None
    assert cells["b"][2] is None
    assert table.note == ""


# Several suites


@pytest.fixture(scope="module")
def suites() -> pd.DataFrame:
    """Meta-World with three tasks and the kitchen with one."""
    return frame_of(make_suites())


def test_suites_weigh_the_same_however_many_tasks_they_have(suites: pd.DataFrame) -> None:
    summary = summarise(suites)
    means = suite_means(summary).set_index(["encoder", "suite"])
    lines = summary[summary["encoder"] == "random"].groupby("suite")["held_out"].mean()
    assert means.loc[("random", "metaworld"), "held_out"] == pytest.approx(lines["metaworld"])
    everything = overall(summary).set_index("encoder").loc["random"]
    assert everything["held_out"] == pytest.approx(lines.mean())
    assert everything["last"] == pytest.approx(means.loc["random"]["last"].mean())
    assert everything["tasks"] == 4
    ends = means.loc["random"]
    expected = mean_interval([Interval(*each) for each in ends[["held_out", "low", "high"]].to_numpy()])
    assert tuple(everything[["held_out", "low", "high"]]) == pytest.approx(expected)


def test_there_is_one_table_of_the_suites_and_one_of_each(suites: pd.DataFrame) -> None:
    tables = result_tables(summarise(suites))
    assert [table.suite for table in tables] == ["", "franka_kitchen", "metaworld"]
    assert tables[0].columns == ["franka_kitchen", "metaworld", "mean"]
    assert tables[1].columns == ["micro_open", "mean"]
    for task, mean in tables[1].cells:
        assert task == pytest.approx(mean)
    text = table_text(summarise(suites))
    assert "judged on train: all suites" in text
    assert "judged on train: metaworld" in text
    assert text.count("the mean weighs tasks equally") == 1, "what is said once is not said again"


def test_an_encoder_without_one_suite_has_no_mean_over_suites(suites: pd.DataFrame) -> None:
    short = suites[~((suites["encoder"] == "random") & (suites["suite"] == "franka_kitchen"))]
    everything = overall(summarise(short)).set_index("encoder")
    assert np.isnan(everything.loc["random", "held_out"])
    assert everything.loc["state", "held_out"] > 0


def test_the_better_encoder_is_the_one_that_is_better_over_suites() -> None:
    wins = {"few": {"kitchen": [9], "metaworld": [4, 4, 4]}, "many": {"kitchen": [1], "metaworld": [7, 7, 7]}}
    rows = [
        held_out(encoder, 0, flips(successes, 10), suite=suite, task=f"task-{index}")
        for encoder, suites in wins.items()
        for suite, tasks in suites.items()
        for index, successes in enumerate(tasks)
    ]
    assert encoder_order(summarise(frame_of(rows))) == ["few", "many"]


def test_encoders_are_compared_within_each_suite_and_over_suites(suites: pd.DataFrame) -> None:
    table = compare(suites, baseline="state")
    together = table[(table["task"] == ALL_TASKS) & (table["encoder_a"] == "egovideo_tiny")]
    by_suite = together.set_index("suite")["estimate"]
    assert set(by_suite.index) == {"", "franka_kitchen", "metaworld"}
    assert by_suite[""] == pytest.approx((by_suite["franka_kitchen"] + by_suite["metaworld"]) / 2)
    assert (table["p_holm"] >= table["p_value"]).all()


def test_the_test_over_suites_weighs_them_as_the_estimate_does() -> None:
    def won(pairs: int) -> Difference:
        return cluster_difference([flips(pairs, pairs)], [flips(0, pairs)])

    def lost(pairs: int) -> Difference:
        return cluster_difference([flips(0, pairs)], [flips(pairs, pairs)])

    even = mean_difference([mean_difference([won(10)] * 5), lost(10)])
    assert even.estimate == 0.0
    assert (even.p_value, even.p_mcnemar) == (1.0, 1.0), "50 won and 10 lost, but one suite each"
    assert (even.wins, even.losses, even.pairs) == (50, 10, 60)


def test_the_test_over_tasks_of_one_size_is_that_of_all_their_pairs() -> None:
    wins = ((9, 2), (5, 3))
    parts = [cluster_difference([flips(a, 12)], [flips(b, 12)]) for a, b in wins]
    both = mean_difference(parts)
    assert both.p_mcnemar == pytest.approx(mcnemar(both.wins, both.losses))
    assert mean_difference([both]) == pytest.approx(both)


def test_strict_success_is_counted_by_the_rows_rule_where_all_rows_say() -> None:
    strict = {"strict_any": [True] + [False] * 3, "strict_last": [False] * 4}
    rules = enumerate(("any", "last"))
    rows = [make_row(role="held_out", seed=seed, success_rule=rule, **strict) for seed, rule in rules]
    assert summarise(frame_of(rows))["held_out_strict"].iloc[0] == pytest.approx(1 / 8)
    some = [*rows, make_row(role="held_out", seed=2)]
    assert np.isnan(summarise(frame_of(some))["held_out_strict"].iloc[0])


# What each change costs


def drops_of(summary: pd.DataFrame) -> pd.DataFrame:
    return summary.set_index(["encoder", "variation"])[["drop", "drop_low", "drop_high"]]


def test_the_drop_is_the_paired_difference_from_none() -> None:
    drops = drops_of(summarise(frame_of(make_changes())))
    lost = cluster_difference([flips(8, 10)] * 3, [flips(3, 10)] * 3)
    assert tuple(drops.loc[("seeing", "camera")]) == pytest.approx(lost[:3])
    assert lost.estimate == pytest.approx(0.5)
    assert lost.low > 0.25
    assert drops.loc[("seeing", "none")].isna().all()


def test_what_sees_no_picture_loses_nothing_to_the_camera() -> None:
    estimate, low, high = drops_of(summarise(frame_of(make_changes()))).loc[("state", "camera")]
    assert estimate == 0.0
    assert low == pytest.approx(-high)
    assert 0 < high < 0.1, "thirty pairs do not show that it is nothing"


def test_a_drop_wants_all_its_pairs() -> None:
    rows = make_changes()
    without = [row for row in rows if (row.encoder, row.variation) != ("seeing", "none")]
    cut = [row for row in rows if (row.encoder, row.variation, row.seed) != ("seeing", "camera", 2)]
    drops = drops_of(summarise(frame_of(without)))
    assert drops.loc["seeing"].isna().all(axis=None)
    assert drops.loc[("state", "starts"), "drop"] == pytest.approx(0.3)
    drops = drops_of(summarise(frame_of(cut)))
    assert drops.loc[("seeing", "camera")].isna().all()
    assert drops.loc[("seeing", "starts"), "drop"] == pytest.approx(0.2)


def test_unseen_looks_change_everything_and_have_no_drop(summary: pd.DataFrame) -> None:
    assert summary["drop"].isna().all()
    assert drop_tables(summary) == []


def test_drops_are_averaged_over_tasks_and_then_over_suites() -> None:
    places = [("adroit", "door"), ("metaworld", "hammer-v3"), ("metaworld", "reach-v3")]
    frame = frame_of(make_changes(places))
    (table,) = drop_tables(summarise(frame))
    assert table.changes == ["camera", "starts"]
    assert [(row.scope, row.encoder) for row in table.rows[::2]] == [
        ("all suites", "seeing"),
        ("adroit / door", "seeing"),
        ("all tasks of metaworld", "seeing"),
        ("metaworld / hammer-v3", "seeing"),
        ("metaworld / reach-v3", "seeing"),
    ]
    seeing = frame[frame["encoder"] == "seeing"]
    usual, moved = (seeing[seeing["variation"] == judged] for judged in ("none", "camera"))
    assert table.rows[0].cells[0] == pytest.approx(paired_difference(usual, moved)[:3])
    assert table.rows[0].usual is not None
    assert table.rows[0].usual.estimate == pytest.approx(0.8)


def test_one_task_has_no_mean_and_a_task_that_is_missing_leaves_it_open() -> None:
    (table,) = drop_tables(summarise(frame_of(make_changes())))
    assert [row.scope for row in table.rows] == ["hammer-v3", "hammer-v3"]
    rows = make_changes([("metaworld", "hammer-v3"), ("metaworld", "reach-v3")])
    short = [row for row in rows if (row.encoder, row.task) != ("seeing", "reach-v3")]
    (table,) = drop_tables(summarise(frame_of(short)))
    seeing, state = (next(row for row in table.rows if row.encoder == name) for name in ("seeing", "state"))
    assert seeing.scope == state.scope == "all tasks"
    assert (seeing.usual, seeing.cells) == (None, [None, None])
    assert None not in (state.usual, *state.cells)


def test_drops_have_one_table_of_their_own() -> None:
    text = table_text(summarise(frame_of(make_changes())))
    assert "mlp policy, protocol egorep, what each change costs, trained on variation none" in text
    assert "+0.50 [" in text
    assert "judged on none" in text
    assert "judged on camera" not in text
    markdown = table_markdown(summarise(frame_of(make_changes())))
    assert "| encoder | task | none | camera | starts |" in markdown


def test_a_change_that_nothing_compares_with_has_a_table_like_any_condition() -> None:
    rows = [row for row in make_changes() if row.variation == "camera"]
    text = table_text(summarise(frame_of(rows)))
    assert "trained on variation none, judged on camera" in text
    assert "what each change costs" not in text
