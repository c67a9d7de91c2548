"""Convex hulls and Delaunay triangulations as target sequences, and how an answer is marked. Everything in float64; points are numbered from 1, 0 is stop.

Many sequences describe one polygon or one set of triangles; the target is one fixed representative of them.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull, Delaunay

PADDING = -1  # fills a target behind its stop symbol


def hull_target(points: np.ndarray) -> list[int]:
    """The hull's vertices counter-clockwise, from the vertex of lowest index."""
    return canonical_cycle(ConvexHull(points).vertices + 1)


def canonical_cycle(vertices) -> list[int]:
    """The same cyclic sequence, rotated so that its smallest entry comes first."""
    vertices = [int(v) for v in vertices]
    first = vertices.index(min(vertices)) if vertices else 0
    return vertices[first:] + vertices[:first]


def incenters(triangles: np.ndarray) -> np.ndarray:
    """(a A + b B + c C) / (a + b + c), each side length weighing the opposite corner; (t, 3, 2) -> (t, 2)."""
    sides = np.linalg.norm(np.roll(triangles, -1, axis=1) - np.roll(triangles, -2, axis=1), axis=-1)  # (t, 3), side i is opposite corner i
    return (sides[..., None] * triangles).sum(1) / sides.sum(1, keepdims=True)


def delaunay_target(points: np.ndarray) -> list[int]:
    """Triangles as increasing index triples, sorted by incenter (x, then y), written one behind the other."""
    simplices = np.sort(Delaunay(points).simplices, axis=1)  # (t, 3)
    x, y = incenters(points[simplices]).T
    return (simplices[np.lexsort((y, x))] + 1).ravel().tolist()


def longest_hull(n: int) -> int:
    """Points on a hull of n points, at most."""
    return n


def longest_triangulation(n: int) -> int:
    """Pointers in a triangulation of n points, at most: 3 (2n - 2 - h) with the smallest hull, h = 3."""
    return 3 * (2 * n - 5)


def pad_targets(targets: list[list[int]], length: int) -> np.ndarray:
    """Rows C_1..C_m, 0 (stop), then padding; (instances, length)."""
    padded = np.full((len(targets), length), PADDING, np.int32)
    for row, target in zip(padded, targets, strict=True):
        row[: len(target)], row[len(target)] = target, 0
    return padded


def until_stop(slots: np.ndarray) -> np.ndarray:
    """What stands before the first stop symbol (all, if there is none)."""
    stops = np.flatnonzero(slots == 0)
    return slots[: stops[0]] if len(stops) else slots


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def area(polygon: np.ndarray) -> np.ndarray:
    """Signed area by the shoelace formula, (..., m, 2) -> (...): positive when counter-clockwise."""
    return 0.5 * cross(polygon, np.roll(polygon, -1, axis=-2)).sum(-1)


def is_simple(polygon: np.ndarray) -> bool:
    """Whether the closed polygon (m, 2) has at least 3 vertices, all different, and no two of its edges cross."""
    m = len(polygon)
    if m < 3 or len(np.unique(polygon, axis=0)) < m:
        return False
    start, end = polygon, np.roll(polygon, -1, axis=0)
    along = end - start
    # side_start[a, b]: on which side of edge a edge b starts. Edges cross when each has its two ends on different sides of the other.
    side_start = cross(along[:, None], start[None] - start[:, None])
    side_end = cross(along[:, None], end[None] - start[:, None])
    splits = side_start * side_end < 0
    return not (splits & splits.T).any()


def mark_hull(points: np.ndarray, slots: np.ndarray, target: np.ndarray) -> tuple[bool, bool, float]:
    """(same polygon as the truth, simple polygon, its area over that of the true hull, 0 when not simple)."""
    answer, truth = until_stop(slots), until_stop(target)
    polygon = points[answer - 1]
    simple = is_simple(polygon)
    coverage = abs(area(polygon)) / area(points[truth - 1]) if simple else 0.0
    return canonical_cycle(answer) == truth.tolist(), simple, coverage


def mark_triangulation(slots: np.ndarray, target: np.ndarray) -> tuple[bool, float]:
    """(same set of triangles as the truth, fraction of the true triangles that are there). A last incomplete triple makes the set another one."""
    answer = {tuple(sorted(triple)) for triple in np.split(until_stop(slots), range(3, len(until_stop(slots)), 3))}
    truth = {tuple(triple) for triple in until_stop(target).reshape(-1, 3).tolist()}
    return answer == truth, len(answer & truth) / len(truth)
