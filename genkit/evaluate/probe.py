"""What is a representation good for? How well few labels, and many, tell classes apart in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from genkit.errors import DataError, UsageError
from genkit.evaluate.estimate import Estimate, compared, estimate
from genkit.evaluate.neighbours import nearest

Method = Literal["svm", "knn"]

#: Labelled images of each class; None is all there are.
BUDGETS = (1, 5, 10, 50, 100, None)
#: Neighbours that vote, where each class has as many labelled images.
NEIGHBOURS = 10
#: Weight of the SVM's errors against its margin, for features of length 1. Of 0.1, 1, 10 and 100 it is the best on
#: MNIST's pixels and on their first 32 principal components from 5 labels a class on, and within 1.5 points of the best
#: at one label.
PENALTY = 1.0


class Score(NamedTuple):
    """The accuracy of a probe on test images at one number of labels.

    Attributes:
        per_class: labelled images of each class; None for all.
        accuracy: share of the test images that are classified rightly, in [0, 1]: mean and standard error over the
            draws of the labelled images (not over test images); None where it was left out.
        reason: why it was left out, else None.
    """

    per_class: int | None
    accuracy: Estimate | None
    reason: str | None


def probe(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    method: Method,
    budgets: tuple[int | None, ...] = BUDGETS,
    draws: int = 5,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> list[Score]:
    """Accuracy of a classifier on features, by how many of the training images' labels it is given.

    "svm" is a linear L2-SVM, one class against the rest, as in Radford et al. (ICLR 2016); "knn" takes the vote of the
    10 nearest labelled images, or of as many as a class has, where these are fewer. Both see features `scaled`, in the
    same draws; a draw's labelled images at a lower budget are among those at a higher one.

    Args:
        train, test: features (N, F) and (M, F).
        train_labels, test_labels: int64 (N,) and (M,).
        names: of the classes; their numbers by default.
        draws: random choices of the labelled images at each budget; all of them can be chosen in one way only.

    Raises:
        DataError: when the training images are all of one class, there are none, or some features aren't finite.
        UsageError: when "svm" finds no scikit-learn.
    """
    train, test = scaled(train, test)
    train_labels, test_labels = train_labels.cpu(), test_labels.cpu()
    classes, sizes = train_labels.unique(return_counts=True)
    if len(classes) < 2:
        raise DataError("a probe tells classes apart, and all training images are of one; use images of several")
    ranks = [ranks_in_class(train_labels, (seed * draws + draw) % 2**63) for draw in range(draws)]
    scores = []
    for budget in budgets:
        if budget is not None and budget > sizes.min():
            fewest = int(sizes.argmin())
            number = int(classes[fewest])
            name = number if names is None else names[number]
            reason = f"of the {len(train):,} training images here, only {int(sizes[fewest])} are of the class {name}"
            scores.append(Score(budget, None, reason))
            continue
        chosen = [torch.ones(len(train), dtype=torch.bool)] if budget is None else [rank < budget for rank in ranks]
        accuracies = []
        for rows in chosen:
            if method == "svm":
                predicted = svm(train[rows], train_labels[rows], test)
            else:
                k = min(NEIGHBOURS, int(rows.sum()) if budget is None else budget)
                predicted = knn(train[rows], train_labels[rows], test, k)
            accuracies.append((predicted == test_labels).double().mean())
        scores.append(Score(budget, estimate(torch.stack(accuracies)), None))
    return scores


def scaled(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Features about the training images' mean, in a unit in which the training images' mean squared length is 1.

    One unit for all features, because a standard deviation each would blow up a code's unused numbers to the size of
    the others. It takes all training images, labelled or not: a representation is learned without labels, too.
    """
    train, test = compared(train, test, fewest=1)
    centre = train.mean(0)
    train, test = train - centre, test - centre
    length = train.square().sum(1).mean().sqrt().clamp(min=1e-30)
    return train / length, test / length


def ranks_in_class(labels: Tensor, seed: int) -> Tensor:
    """The place of each image (N,) in a random order of its class, from 0: those below b are b images of each class."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    order = order[labels[order].sort(stable=True).indices]
    sizes = labels.unique(return_counts=True)[1]
    starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(labels)) - starts)


def svm(labelled: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
    """The classes (M,) of queries (M, F) by a linear SVM on labelled features (N, F), in a unit as `scaled` gives."""
    try:
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise UsageError("the linear probe needs scikit-learn: pip install scikit-learn") from error
    # Solved in the primal, which draws no random numbers and converges with many labels as with few.
    classifier = LinearSVC(C=PENALTY, dual=False).fit(labelled.numpy(), labels.numpy())
    return torch.from_numpy(classifier.predict(queries.numpy()))


def knn(labelled: Tensor, labels: Tensor, queries: Tensor, k: int) -> Tensor:
    """The classes (M,) of queries (M, F) by the vote of their k nearest labelled features (N, F).

    Among classes with equally many votes, that of the nearest neighbour wins.
    """
    return _vote(labels[nearest(queries, labelled, k).indices])


def leave_one_out(features: Tensor, labels: Tensor, k: int = NEIGHBOURS) -> float:
    """Share of the images, in [0, 1], whose class is that of most of their k nearest others in features (N, F).

    Raises:
        DataError: when there are no k others, or some features aren't finite.
    """
    labels = labels.cpu()
    votes = labels[nearest(features, features, k, itself=True).indices]
    return float((_vote(votes) == labels).double().mean())


def _vote(votes: Tensor) -> Tensor:
    """The commonest class of each row (N, k) of neighbours' classes, the nearest first; of several, the first."""
    counts = (votes[:, :, None] == votes[:, None, :]).sum(2)
    # argmax takes the first of equals, which is the nearest.
    return votes.gather(1, counts.argmax(1, keepdim=True))[:, 0]
