"""Movable household objects, each kind a function that draws one individual from random sizes and paints.

The conventions are those of `design`. Containers have the spot "inside" (at their floor, axis up, inner
radius, depth); what pours has "lip" (at the rim, axis towards the side that it pours to: tilt about axis
cross z); tools have "tip" (the working end, and the way it works). What lies flat is grasped from above.
"""

from pretrain.sim.objects import food, household, tools, vessels
from pretrain.sim.objects.shared import MOVABLE

__all__ = ["MOVABLE", "food", "household", "tools", "vessels"]
