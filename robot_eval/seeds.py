"""Seeds of episodes, from ranges that never meet: demonstrations, evaluations in training, held-out ones.

Each policy seed has a thousand episodes of its own to be judged on, the same for every encoder, so encoders
are compared on the same layouts and looks; of demonstrations only where it is asked for.
"""

from __future__ import annotations

FIRST_DEMO_SEED = 1_000_000
_EVALUATION_SEEDS = 2_000_000
_HELD_OUT_SEEDS = 5_000_000

SEEDS_PER_POLICY = 1_000
OWN_DEMO_SETS = (_EVALUATION_SEEDS - FIRST_DEMO_SEED) // SEEDS_PER_POLICY
"""Policy seeds below this one have demonstrations that are no episode of an evaluation."""


def own_demo_seed(policy_seed: int) -> int:
    """The first seed of the demonstrations that are one policy seed's own; those of 0 are the usual ones."""
    return FIRST_DEMO_SEED + policy_seed * SEEDS_PER_POLICY


def episode_seeds(role: str, policy_seed: int, count: int) -> list[int]:
    """Seeds of the episodes that a policy is judged on.

    Args:
        role: `checkpoint` or `held_out`.
        policy_seed: of the policy.
        count: how many; evaluations during training reuse theirs at every checkpoint.
    """
    first = _EVALUATION_SEEDS if role == "checkpoint" else _HELD_OUT_SEEDS
    return [first + policy_seed * SEEDS_PER_POLICY + episode for episode in range(count)]
