"""Training scenes: pictures placed on a canvas at any scale and angle, alone, in mosaics, in crowds.

A scene is a list of layers, each one picture under one similarity, cut to one rectangle; its faces
move with it. What a face's box becomes under rotation is the box of the ellipse inside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from training.detector.collection import Item
from training.detector.drills import SIDE as SEEN
from training.detector.drills import Drills
from training.detector.labels import FACE, mirror, overlap
from training.yunet import Array, Picture, YuNet

SMALLEST = 8.0
"""Faces below this side, in pixels, are neither asked for nor punished."""

JUDGED, UNSEEN = 64.0, 0.1
"""The teacher looks again at faces below this side; with a score below this it does not see them."""

DRILLED = 0.35
"""Share of the scenes that are drawn around drills, where there are any."""

WHOLE, LEAST, SMALL = 0.25, 200, 1 / 9
"""Share of the scenes that are one whole picture, as a user's photo is seen, and the least side of such a
scene in pixels; faces are small below this share of their picture's longer side."""


@dataclass(frozen=True, slots=True)
class Scene:
    """`image` (h, w, 3) uint8 RGB with `boxes` (k, 4) and `points` (k, 5, 2) float32 in pixels.

    `sure` (k,) bool is False where a face is doubtful, hidden or tiny: nothing is learnt there.
    `clear` (k,) float32 in 0..1 is how much of its score a face can claim in this scene.
    """

    image: Picture
    boxes: Array
    points: Array
    sure: npt.NDArray[np.bool_]
    clear: Array


@dataclass(frozen=True, slots=True)
class Layer:
    """A picture's pixels placed by `matrix` (2, 3) into `rect` (x1, y1, x2, y2) of the canvas."""

    boxes: Array
    points: Array
    sure: npt.NDArray[np.bool_]
    rect: tuple[int, int, int, int]


class Maker:
    """Draws scenes from a list of items with a random generator of its own.

    With a teacher, small faces count as much as it still sees of them.
    """

    def __init__(
        self, items: list[Item], seed: int, teacher: YuNet | None = None, drills: Drills | None = None
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.teacher = teacher
        self.drills: list[list[tuple[Item, Array]]] = [[], []]  # false alarms, missed faces
        if drills:
            known = {item.name: item for item in items}
            for name, box, face in zip(drills.names.tolist(), drills.boxes, drills.faces, strict=True):
                if name in known:
                    self.drills[int(face)].append((known[name], box))
        self.people = [item for item in items if (item.faces.scores >= FACE).any()]
        self.small = [item for item in self.people if _shown(item) < SMALL]
        self.empty = [item for item in items if item.negative]
        self.street = [item for item in items if item.name.startswith("street/")]

    def scene(self, size: int) -> Scene:
        """One scene of `size` x `size` pixels."""
        canvas, ground = self._ground(size)
        kind = self.rng.random()
        if size >= LEAST and self.rng.random() < WHOLE:
            ground, layers = [], [self._whole(canvas, size)]
        elif all(self.drills) and self.rng.random() < DRILLED:
            layers = [self._drill(canvas, size)]
        elif kind < 0.10 and self.empty:
            layers = [self._place(canvas, self._pick(self.empty), (0, 0, size, size), None)]
        elif kind < 0.55:
            layers = [
                self._place(canvas, self._pick(self.people), (0, 0, size, size), self._log(12, 1.25 * size))
            ]
        elif kind < 0.85:
            layers = self._mosaic(canvas, size)
        else:
            layers = self._crowd(canvas, size)
        scene = self._join(canvas, [*ground, *layers])
        return self._judge(replace(scene, image=self._photograph(self._occlude(scene))))

    def _judge(self, scene: Scene) -> Scene:
        """Ask less of small faces that scale, blur and darkness took from the teacher too.

        Of the faces of 8 to 16 px, a third is nothing that the teacher could still tell from a hand.
        """
        small = np.sqrt(np.prod(scene.boxes[:, 2:] - scene.boxes[:, :2], axis=1)) < JUDGED
        if self.teacher is None or not (small & scene.sure).any():
            return scene
        found = self.teacher.detect(scene.image, UNSEEN)
        shown = (overlap(scene.boxes, found.boxes) > 0.4) * found.scores[None]
        score = shown.max(axis=1, initial=0)
        clear = np.where(small, np.clip(score / FACE, 0.3, 1), 1).astype(np.float32)
        return replace(scene, sure=scene.sure & ~(small & (score < UNSEEN)), clear=clear)

    def _pick(self, items: list[Item]) -> Item:
        return items[int(self.rng.integers(len(items)))]

    def _log(self, low: float, high: float) -> float:
        return float(np.exp(self.rng.uniform(np.log(low), np.log(max(high, low + 1)))))

    def _ground(self, size: int) -> tuple[Picture, list[Layer]]:
        """What lies behind the pictures: a colour, or a picture without faces, whose doubts are doubted."""
        canvas = np.zeros((size, size, 3), np.uint8)
        kind = self.rng.random()
        if kind < 0.25 or not self.empty:
            canvas[:] = self.rng.integers(0, 256, 3) if kind < 0.12 else 0
            return canvas, []
        return canvas, [self._place(canvas, self._pick(self.empty), (0, 0, size, size), None)]

    def _whole(self, canvas: Picture, size: int) -> Layer:
        """All of a picture in a frame that is black where it does not reach; half show small faces."""
        kinds = (self.small, self.small, self.people, self.empty)
        item = self._pick(kinds[int(self.rng.integers(4))] or self.people)
        height, width = item.pixels(4).shape[:2]
        canvas[:] = 0
        scale = size / max(height, width) * self.rng.uniform(0.85, 1)
        wide, high = (max(round(side * scale), 2) for side in (width, height))
        x, y = (int(self.rng.integers(size - side + 1)) for side in (wide, high))
        return self._place(canvas, item, (x, y, x + wide, y + high), None, whole=True)

    def _drill(self, canvas: Picture, size: int) -> Layer:
        """A false alarm or a missed face, at about the size at which it was one."""
        drills = self.drills[int(self.rng.integers(2))]
        item, box = drills[int(self.rng.integers(len(drills)))]
        longer = 4 * max(item.pixels(4).shape[:2])
        side = float(np.sqrt(np.prod(box[2:] - box[:2]))) * min(SEEN / longer, 1)
        side = float(np.clip(side * self._log(0.6, 1.8), 10, 1.1 * size))
        return self._place(canvas, item, (0, 0, size, size), side, box=box)

    def _mosaic(self, canvas: Picture, size: int) -> list[Layer]:
        x, y = (int(size * self.rng.uniform(0.3, 0.7)) for _ in range(2))
        layers = []
        for rect in ((0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)):
            side = min(rect[2] - rect[0], rect[3] - rect[1])
            item = self._pick(self.people)
            layers.append(self._place(canvas, item, rect, self._log(10, 1.1 * side)))
        return layers

    def _crowd(self, canvas: Picture, size: int) -> list[Layer]:
        layers = []
        for _ in range(int(self.rng.integers(3, 10))):
            side = self._log(10, size / 4)
            wide, high = (int(side * self.rng.uniform(1.3, 2.6)) for _ in range(2))
            x, y = (
                int(self.rng.integers(-wide // 4, size - wide // 2)),
                int(self.rng.integers(0, size - high // 2)),
            )
            rect = (max(x, 0), max(y, 0), min(x + wide, size), min(y + high, size))
            layers.append(self._place(canvas, self._pick(self.people), rect, side, centred=True))
        return layers

    def _place(
        self,
        canvas: Picture,
        item: Item,
        rect: tuple[int, int, int, int],
        side: float | None,
        centred: bool = False,
        box: Array | None = None,
        whole: bool = False,
    ) -> Layer:
        """Put a picture into `rect`; one of its faces, or `box`, gets `side` pixels and lies inside.

        Without `side` it covers `rect`, at some scale; `whole`, it fits exactly.
        """
        rng, faces = self.rng, item.faces
        wide, high = rect[2] - rect[0], rect[3] - rect[1]
        sure = np.flatnonzero(faces.scores >= FACE)
        if side is None or (box is None and not len(sure)):
            reduce = 1 if rng.random() < 0.4 else 2
            pixels = item.pixels(reduce)
            sides = np.array([pixels.shape[1], pixels.shape[0]]) * reduce
            scale = max(wide / sides[0], high / sides[1]) * (1 if whole else self._log(0.7, 2.5))
            focus = sides * (0.5 if whole else rng.uniform(0.3, 0.7, 2))
        else:
            chosen = faces.boxes[int(rng.choice(sure))] if box is None else box
            own = float(np.sqrt(np.prod(chosen[2:] - chosen[:2])))
            scale = min(side / own, 5.0)
            focus = (chosen[:2] + chosen[2:]) / 2
            reduce = 4 if scale < 0.25 else 2 if scale < 0.5 else 1
            pixels = item.pixels(reduce)
        reduced = 1 / reduce
        if rng.random() < 0.5:
            width = pixels.shape[1] / reduced
            pixels, faces = np.ascontiguousarray(pixels[:, ::-1]), mirror(faces, width)
            focus = np.array([width - focus[0], focus[1]])
        angle = np.deg2rad(rng.normal(0, 8) if rng.random() < 0.7 else rng.uniform(-45, 45)) * (not whole)
        room = 0.5 if side is None else min(side / max(wide, high), 1.0)
        spread = 0 if whole else 0.1 if centred else 0.5 - 0.4 * room
        target = np.array(
            [
                rect[0] + wide * rng.uniform(0.5 - spread, 0.5 + spread),
                rect[1] + high * rng.uniform(0.5 - spread, 0.5 + spread),
            ]
        )
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
        matrix = np.concatenate([turn, (target - turn @ focus)[:, None]], axis=1)
        self._paint(canvas, pixels, matrix @ np.diag([1 / reduced, 1 / reduced, 1]), rect)
        centre = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 @ turn.T + matrix[:, 2]
        squares = ((faces.boxes[:, 2:] - faces.boxes[:, :2]) * scale / 2) ** 2
        c, s = np.cos(angle) ** 2, np.sin(angle) ** 2
        half = np.sqrt(
            np.stack([squares[:, 0] * c + squares[:, 1] * s, squares[:, 0] * s + squares[:, 1] * c], 1)
        )
        boxes = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
        points = (faces.points @ turn.T + matrix[:, 2]).astype(np.float32)
        return Layer(boxes, points, faces.scores >= FACE, rect)

    def _paint(
        self,
        canvas: Picture,
        pixels: Picture,
        matrix: npt.NDArray[np.float64],
        rect: tuple[int, int, int, int],
    ) -> None:
        scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
        if scale < 0.6:
            factor = max(scale * 1.3, 2 / min(pixels.shape[:2]))
            size = (max(round(pixels.shape[1] * factor), 1), max(round(pixels.shape[0] * factor), 1))
            matrix = matrix @ np.diag([pixels.shape[1] / size[0], pixels.shape[0] / size[1], 1])
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        x1, y1, x2, y2 = rect
        if x2 - x1 < 2 or y2 - y1 < 2:
            return
        matrix = matrix.copy()
        # Here (0, 0) is a pixel's corner; OpenCV's is its centre.
        matrix[:, 2] += matrix[:, :2].sum(axis=1) / 2 - 0.5 - np.array([x1, y1])
        part = np.ascontiguousarray(canvas[y1:y2, x1:x2])
        cv2.warpAffine(pixels, matrix, (x2 - x1, y2 - y1), part, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT)
        canvas[y1:y2, x1:x2] = part

    def _join(self, canvas: Picture, layers: list[Layer]) -> Scene:
        """The faces of all layers that are seen; a face cut or covered by half is not sure."""
        boxes, points, sure = [], [], []
        for number, layer in enumerate(layers):
            if not len(layer.boxes):
                continue
            area = np.maximum(np.prod(layer.boxes[:, 2:] - layer.boxes[:, :2], axis=1), 1e-3)
            seen = _inside(layer.boxes, layer.rect) / area
            keep = seen > 0.1  # before later layers: where their pictures do not reach, it shows
            for later in layers[number + 1 :]:
                x1, y1, x2, y2 = (
                    max(layer.rect[0], later.rect[0]),
                    max(layer.rect[1], later.rect[1]),
                    min(layer.rect[2], later.rect[2]),
                    min(layer.rect[3], later.rect[3]),
                )
                if x2 > x1 and y2 > y1:
                    seen -= _inside(layer.boxes, (x1, y1, x2, y2)) / area
            inner = [
                (layer.points[:, :, k] > layer.rect[k]) & (layer.points[:, :, k] < layer.rect[k + 2])
                for k in (0, 1)
            ]
            marks = (inner[0] & inner[1]).sum(axis=1)
            boxes.append(layer.boxes[keep])
            points.append(layer.points[keep])
            sides = np.sqrt(area)
            sure.append((layer.sure & (seen > 0.55) & (marks >= 4) & (sides >= SMALLEST))[keep])
        if not boxes:
            none = np.zeros(0, np.float32)
            return Scene(canvas, none.reshape(0, 4), none.reshape(0, 5, 2), np.zeros(0, bool), none)
        clear = np.ones(sum(map(len, boxes)), np.float32)
        return Scene(canvas, np.concatenate(boxes), np.concatenate(points), np.concatenate(sure), clear)

    def _occlude(self, scene: Scene) -> Picture:
        """Masks over mouths, bars over eyes, on some of the larger faces."""
        rng, image = self.rng, scene.image
        for box, points, sure in zip(scene.boxes, scene.points, scene.sure, strict=True):
            side = float(box[2] - box[0])
            if not sure or side < 20 or rng.random() > 0.08:
                continue
            across, down = points[1] - points[0], (points[3] + points[4] - points[0] - points[1]) / 2
            if rng.random() < 0.75:
                top = points[2] - down * rng.uniform(-0.05, 0.5)
                outline = [
                    top - 0.85 * across,
                    top,
                    top + 0.85 * across,
                    points[4] + 0.7 * down + 0.2 * across,
                    points[3] + 0.7 * down - 0.2 * across,
                ]
            else:
                eyes = (points[0] + points[1]) / 2
                outline = [
                    eyes + a * across + b * down
                    for a, b in ((-0.9, -0.2), (0.9, -0.2), (0.9, 0.25), (-0.9, 0.25))
                ]
            base = int(rng.choice([20, 90, 170, 235]))
            colour = [int(v) for v in np.clip(base + rng.integers(-20, 21, 3), 0, 255)]
            cv2.fillPoly(image, [np.round(outline).astype(np.int32)], colour, cv2.LINE_AA)
        return image

    def _photograph(self, image: Picture) -> Picture:
        """Light, colour, blur, noise, resolution and JPEG of a bad camera, some of each."""
        rng = self.rng
        if rng.random() < 0.75:
            ramp = np.arange(256, dtype=np.float32) / 255
            dark = rng.random() < 0.15
            gamma = self._log(1.5, 3.5) if dark else self._log(0.7, 1.4)
            gains = rng.uniform(0.85, 1.15, 3) * (rng.uniform(0.4, 0.9) if dark else rng.uniform(0.75, 1.2))
            table = np.clip(255 * (ramp[:, None] ** gamma * gains + rng.uniform(-0.06, 0.06)), 0, 255)
            image = np.asarray(cv2.LUT(image, table.astype(np.uint8)[None]), np.uint8)
        if rng.random() < 0.08:
            image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2).astype(np.uint8)
        kind = rng.random()
        if kind < 0.08:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.6)), np.uint8)
        elif kind < 0.12:
            size = (int(rng.integers(1, 6)), 1) if rng.random() < 0.5 else (1, int(rng.integers(1, 6)))
            image = np.asarray(cv2.blur(image, size), np.uint8)
        elif kind < 0.18:
            size = (int(image.shape[1] * rng.uniform(0.4, 0.8)),) * 2
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            image = np.asarray(
                cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8
            )
        if rng.random() < 0.12:
            noise = rng.integers(-128, 128, image.shape, dtype=np.int8).astype(np.int16) * int(
                rng.integers(4, 30)
            )
            image = np.clip(image + (noise >> 7), 0, 255).astype(np.uint8)
        if rng.random() < 0.2:
            done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 80))])
            if done:
                image = np.asarray(cv2.imdecode(np.asarray(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
        return image


def _shown(item: Item) -> float:
    """The side of a picture's smallest sure face over the picture's longer side."""
    boxes = item.faces.boxes[item.faces.scores >= FACE]
    sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    return float(sides.min() / (4 * max(item.pixels(4).shape[:2])))


def _inside(boxes: Array, rect: tuple[int, int, int, int]) -> Array:
    """The area (n,) of each box inside a rectangle."""
    wide = np.minimum(boxes[:, 2], rect[2]) - np.maximum(boxes[:, 0], rect[0])
    high = np.minimum(boxes[:, 3], rect[3]) - np.maximum(boxes[:, 1], rect[1])
    return np.asarray(np.clip(wide, 0, None) * np.clip(high, 0, None), np.float32)
