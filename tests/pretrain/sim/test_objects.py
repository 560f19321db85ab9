from __future__ import annotations

import itertools

import mujoco
import numpy as np
import pytest

from pretrain.sim.articulated import ARTICULATED
from pretrain.sim.design import COLOURS, Grasp, ObjectDesign, part_name
from pretrain.sim.library import KINDS, design
from pretrain.sim.objects import MOVABLE
from pretrain.sim.shapes import lathe, prism, tube

HAND_SPAN = 0.105  # metres between thumb and fingers of a wide open hand, at the fingertips
SINKING = {"button", "nail"}  # their moving part goes into the other one, as it should


def individuals(kind: str) -> list[ObjectDesign]:
    colours = KINDS[kind].colours
    return [design(kind, colours[shape % len(colours)], shape) for shape in range(6)]


class OnTable:
    """One object on a table, with a probe: a tiny ball whose distance to the object can be asked."""

    def __init__(self, made: ObjectDesign, height: float = 0.0) -> None:
        spec = mujoco.MjSpec()
        spec.worldbody.add_geom(
            name="table", type=mujoco.mjtGeom.mjGEOM_BOX, size=[1.0, 1.0, 0.1], pos=[0.31, 0.17, -0.1]
        )
        probe = spec.worldbody.add_body(name="probe", mocap=True)
        probe.add_geom(name="probe", type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[1e-5, 0.0, 0.0])
        made.build(spec, "it", (0.0, 0.0, height))
        self.made = made
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.update()

    def update(self) -> None:
        mujoco.mj_kinematics(self.model, self.data)

    def felt(self, part: str) -> list[int]:
        body = self.model.body(part_name("it", part)).id
        return [
            g
            for g in range(self.model.ngeom)
            if self.model.geom_bodyid[g] == body and self.model.geom_contype[g]
        ]

    def between(self, one: int, other: int) -> float:
        return float(mujoco.mj_geomDistance(self.model, self.data, one, other, 0.5, np.zeros(6)))

    def to_point(self, part: str, point: np.ndarray) -> float:
        """Signed distance of a point of the body's frame from the body."""
        body = self.model.body(part_name("it", part)).id
        world = self.data.xmat[body].reshape(3, 3) @ point + self.data.xpos[body]
        self.data.mocap_pos[0] = world
        self.update()
        probe = self.model.geom("probe").id
        return min(self.between(probe, geom) for geom in self.felt(part))

    def apart(self, one: str, other: str) -> float:
        return min(self.between(a, b) for a, b in itertools.product(self.felt(one), self.felt(other)))

    def move(self, part: str, share: float) -> None:
        low, high = self.made.body(part).limits
        self.data.joint(part_name("it", part)).qpos[0] = low + share * (high - low)
        self.update()


def grasps(made: ObjectDesign) -> list[tuple[str, Grasp]]:
    return [(body.name, grasp) for body in made.bodies for grasp in body.grasps]


def test_the_library_is_large() -> None:
    assert len(MOVABLE.kinds) >= 22
    assert len(ARTICULATED.kinds) >= 10
    assert len(COLOURS) >= 10
    assert all(noun == noun.lower() for kind in KINDS.values() for noun in kind.nouns)


def test_colours_are_told_apart() -> None:
    for (one, first), (other, second) in itertools.combinations(COLOURS.items(), 2):
        assert np.linalg.norm(np.subtract(first, second)) > 0.3, (one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_it_rests_on_the_table(kind: str) -> None:
    for made in individuals(kind):
        # Half a millimetre above it: MuJoCo's distance of shapes that exactly touch is at times far off.
        scene = OnTable(made, 0.0005)
        table = scene.model.geom("table").id
        for body in made.bodies:
            lowest = min(scene.between(table, geom) for geom in scene.felt(body.name))
            assert lowest > 0.0, (made.colour, made.shape, body.name)
            assert lowest < 0.0015 or body.name not in ("", "peg")
        drawn = min(body.points()[:, 2].min() for body in made.bodies)
        assert drawn == pytest.approx(0.0, abs=0.001)
        assert 0.005 < made.height < 0.35
        assert 0.005 < max(np.diff(made.footprint)[[0, 2]]) < 0.6


@pytest.mark.parametrize("kind", KINDS)
def test_hands_can_grasp_it(kind: str) -> None:
    for made in individuals(kind):
        scene = OnTable(made)
        assert grasps(made)
        for part, grasp in grasps(made):
            where = f"{made.colour} {kind} {made.shape}, {part} {grasp.name}"
            approach, closing = np.array(grasp.approach), np.array(grasp.closing)
            assert np.linalg.norm(approach) == pytest.approx(1.0), where
            assert np.linalg.norm(closing) == pytest.approx(1.0), where
            assert approach @ closing == pytest.approx(0.0, abs=1e-9), where
            assert grasp.width <= HAND_SPAN, where
            assert approach[2] <= 0.0, f"{where}: from under the table"
            for pad in grasp.pads():
                assert abs(scene.to_point(part, pad)) < 0.01, where
            assert scene.to_point(part, grasp.position - 0.12 * approach) > 0.01, (
                f"{where}: through the object"
            )


@pytest.mark.parametrize("kind", KINDS)
def test_something_is_between_the_fingers(kind: str) -> None:
    for made in individuals(kind)[:2]:
        scene = OnTable(made)
        for part, grasp in grasps(made):
            thumb, finger = grasp.pads()
            if grasp.kind == "flat":
                finger = np.array(grasp.position) + 0.004 * np.array(grasp.approach)
            nearest = min(scene.to_point(part, thumb + k * (finger - thumb)) for k in np.linspace(0, 1, 31))
            assert nearest < 0.0005, (made.colour, made.shape, grasp.name)


def test_round_things_are_grasped_from_any_side() -> None:
    made = design("cup", "red", 0)
    grasp = made.root.grasp("side").swung(1.2)
    scene = OnTable(made)
    assert all(abs(scene.to_point("", pad)) < 0.01 for pad in grasp.pads())
    assert np.dot(grasp.approach, (0.0, 1.0, 0.0)) == pytest.approx(np.cos(1.2))
    with pytest.raises(ValueError, match=r"'handle' swings by at most 0\.00 rad; got 0\.10"):
        design("mug", "red", 0).root.grasp("handle").swung(0.1)


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if design(kind, KINDS[kind].colours[0], 0).root.spots]
)
def test_spots_are_where_they_say(kind: str) -> None:
    for made in individuals(kind):
        scene = OnTable(made)
        for body, spot in ((part.name, spot) for part in made.bodies for spot in part.spots):
            at, axis = np.array(spot.position), np.array(spot.axis)
            assert np.linalg.norm(axis) == pytest.approx(1.0)
            if spot.name in ("inside", "hole"):
                inwards = axis if spot.name == "inside" else -axis
                middle = at + inwards * spot.depth * (0.55 if spot.name == "inside" else -0.5)
                assert scene.to_point(body, middle) > min(0.6 * spot.radius, 0.4 * spot.depth), "filled"
                assert scene.to_point(body, at) < spot.radius + 0.002, "no floor or wall near"
            elif spot.radius < 0.02:
                assert abs(scene.to_point(body, at)) < 0.02


@pytest.mark.parametrize("kind", ARTICULATED.kinds)
def test_joints_move_freely_over_their_range(kind: str) -> None:
    for made in individuals(kind)[:4]:
        scene = OnTable(made)
        for body in made.bodies:
            if body.joint not in ("slide", "hinge"):
                continue
            for share in np.linspace(0.0, 1.0, 7):
                scene.move(body.name, share)
                if kind not in SINKING:
                    assert scene.apart(body.name, "") > -0.004, (made.colour, made.shape, share)
                assert min(body.points(limit)[:, 2].min() for limit in body.limits) > -0.001


@pytest.mark.parametrize(
    ("kind", "part", "axis", "sign"),
    [
        ("drawer", "drawer", 1, -1),  # towards the wearer
        ("cupboard", "door", 1, -1),
        ("chest", "lid", 2, 1),  # up
        ("laptop", "lid", 2, 1),
        ("button", "cap", 2, -1),  # down
        ("nail", "nail", 2, -1),
        ("switch", "lever", 1, 1),  # away
        ("slider", "cap", 0, 1),  # to the right
    ],
)
def test_100_percent_is_open_down_or_away(kind: str, part: str, axis: int, sign: int) -> None:
    for made in individuals(kind):
        body = made.body(part)
        shut, wide = (body.points(at)[:, axis].mean() for at in body.limits)
        assert sign * (wide - shut) > 0.005


def test_a_handle_goes_with_its_drawer() -> None:
    made = design("drawer", "red", 0)
    scene = OnTable(made)
    handle = made.body("drawer").grasp("handle")
    scene.move("drawer", 1.0)
    assert abs(scene.to_point("drawer", handle.pads()[0])) < 0.01
    assert scene.data.body("it/drawer").xpos[1] == pytest.approx(-made.body("drawer").limits[1])


def test_a_peg_fits_its_hole_and_a_lid_its_pot() -> None:
    for made in individuals("peg board"):
        hole, scene = made.root.spot("hole"), OnTable(made)
        for share in (0.0, 0.5, 1.0):
            depth = share * hole.depth
            scene.data.joint("it/peg").qpos[:3] = np.array(hole.position) + depth * np.array(hole.axis)
            scene.update()
            assert scene.apart("peg", "") > -0.0005
    for made in individuals("lidded pot"):
        assert -0.001 < OnTable(made).apart("lid", "") < 0.002


def test_a_still_object_has_no_joints() -> None:
    spec = mujoco.MjSpec()
    design("mug", "red", 0).build(spec, "it", (0.0, 0.0, 0.0), still=True)
    assert spec.compile().nq == 0


@pytest.mark.parametrize(
    "mesh",
    [
        lathe([(0, 0), (0.03, 0), (0.04, 0.1), (0.035, 0.1), (0.025, 0.01), (0, 0.01)]),
        tube([(0, 0, 0), (0.1, 0, 0), (0.1, 0, 0.1)], 0.01),
        prism([(0, 0), (0.1, 0), (0.1, 0.1), (0, 0.1)], 0.2),
    ],
    ids=["lathe", "tube", "prism"],
)
def test_meshes_are_closed_and_face_outwards(mesh: object) -> None:
    vertices, faces = mesh.vertices.round(9), mesh.faces
    corners = vertices[faces]
    _, same = np.unique(vertices, axis=0, return_inverse=True)
    edges = np.concatenate([same.ravel()[faces][:, [i, (i + 1) % 3]] for i in range(3)])
    there = {tuple(edge) for edge in edges}
    assert {(b, a) for a, b in there} == there
    assert np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) > 0


def test_wrong_names_are_answered_with_the_right_ones() -> None:
    with pytest.raises(ValueError, match="no kind of object is called 'whale'; choose from apple, pear"):
        design("whale", "red", 0)
    with pytest.raises(ValueError, match="no lemon is blue; choose from yellow"):
        design("lemon", "blue", 0)
    with pytest.raises(KeyError, match=r"has no grasp 'ear'; it has 'handle', 'side', 'rim'"):
        design("mug", "red", 0).root.grasp("ear")
