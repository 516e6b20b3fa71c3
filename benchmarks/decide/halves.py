"""Two halves of a set of images. Where images belong together, as versions of one original do, groups are dealt out.

Axis letters: N images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["halves"]

Groups = npt.NDArray[np.integer]


def halves(
    images: int,
    timed: Sequence[int],
    labels: npt.NDArray[np.integer] | None,
    seed: int,
    groups: Groups | None = None,
) -> npt.NDArray[np.bool_]:
    """Split images by chance into two halves; [N] whether an image is in the first.

    The timed ones are dealt out first, then the others, and each kind class by class: the halves differ by at most
    one image in number, in timed images, in each class of the timed and in each class of the others. Groups are dealt
    out whole, in the same way: those with most timed images first, and those of a kind by the class of their first.

    Args:
        images: N.
        timed: indices of the images that were timed.
        labels: [N] class of each image; None is not known.
        seed: of the split.
        groups: [N] which images stay together; None: each by itself.
    """
    if groups is not None:
        return _halves_of_groups(images, timed, labels, seed, groups)
    draw = np.random.default_rng(seed)
    untimed = np.ones(images, dtype=np.bool_)
    untimed[list(timed)] = False
    classes = np.zeros(images, dtype=np.intp) if labels is None else np.unique(labels, return_inverse=True)[1]
    # In an order drawn anew, so that of classes with one image not every second goes to the same half by its name.
    rank = draw.permutation(int(classes.max()) + 1)[classes]
    order = np.lexsort((draw.permutation(images), rank, untimed))
    first = np.zeros(images, dtype=np.bool_)
    first[order[::2]] = True
    return first


def _halves_of_groups(
    images: int, timed: Sequence[int], labels: npt.NDArray[np.integer] | None, seed: int, groups: Groups
) -> npt.NDArray[np.bool_]:
    draw = np.random.default_rng(seed)
    _, firsts, index = np.unique(groups, return_index=True, return_inverse=True)
    was_timed = np.zeros(images)
    was_timed[list(timed)] = 1
    classes = np.zeros(images, dtype=np.intp) if labels is None else np.unique(labels, return_inverse=True)[1]
    rank = draw.permutation(int(classes.max()) + 1)[classes[firsts]]
    order = np.lexsort((draw.permutation(len(firsts)), rank, -np.bincount(index, was_timed)))
    # There and back (A B B A), so that one half does not get the larger of every two.
    first = np.zeros(len(firsts), dtype=np.bool_)
    first[order[0::4]] = first[order[3::4]] = True
    dealt: npt.NDArray[np.bool_] = first[index]
    return dealt
