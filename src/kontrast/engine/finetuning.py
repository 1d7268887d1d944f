"""Fine-tuning: an encoder and a linear head trained together on labels, and the epoch that validation liked best."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from kontrast import distributed
from kontrast.artifacts.classifier import Classifier
from kontrast.engine.batches import Batch
from kontrast.engine.features import predict, to_input
from kontrast.engine.loop import Hook
from kontrast.engine.losses import balanced_pos_weight, counted
from kontrast.engine.supervision import Labelled, validate
from kontrast.engine.threeclass import cross_entropy
from kontrast.methods.method import Step
from kontrast.nn.batchnorm import batchnorms
from kontrast.nn.encoders import normalise
from kontrast.views.params import ViewSpec
from kontrast.views.recipes import Recipe, make_views

ONE_VIEW = ViewSpec(globals=1)


class Supervised(nn.Module):
    """What the training loop trains: one augmented view of each image in, the masked loss of its labels out.

    Args:
        classifier: trained in place.
        task: labels; batches' rows are rows of its Pack.
        loss: (logits, targets, weights, pos_weight) → scalar.
        recipe: how the view is drawn.
        balance: weight positives by negatives over positives.
        head_lr_scale: learning rate of the head over the encoder's.
        gamma: focus of the three-class loss, where findings are trained so; 0: plain cross-entropy.

    Attributes:
        unclear: the outputs "uncertain" of these findings, needed in training alone (`engine.threeclass`); or None.
    """

    def __init__(
        self,
        classifier: Classifier,
        task: Labelled,
        loss: Callable[..., Tensor],
        recipe: Recipe,
        *,
        balance: bool = False,
        head_lr_scale: float = 10.0,
        gamma: float = 0.0,
    ) -> None:
        super().__init__()
        self.classifier, self._loss, self._recipe, self._scale = classifier, loss, recipe, head_lr_scale
        # Not buffers: they derive from the Pack and need no place in a checkpoint.
        self._targets, self._weights = torch.from_numpy(task.targets), torch.from_numpy(task.weights)
        self._third, self._gamma = torch.from_numpy(task.third).float(), gamma
        self._three = torch.from_numpy(task.three)
        self._two = torch.tensor([i for i in range(len(task.findings)) if i not in task.three], dtype=torch.int64)
        self.unclear = nn.Linear(classifier.encoder.feature_dim, len(self._three)) if len(self._three) else None
        if self.unclear is not None:
            start_head(self.unclear, *(np.zeros(tuple(p.shape)) for p in self.unclear.parameters()))
        train = torch.from_numpy(task.train)
        self._pos_weight = balanced_pos_weight(self._targets[train], self._weights[train]) if balance else None

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> Step:
        """The loss of one batch; `progress` is not used."""
        rows = torch.from_numpy(batch.rows)
        device = batch.images.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            (view,) = make_views(
                batch.images, self._recipe, ONE_VIEW, generator, first=batch.first, total=batch.total
            )  # (b, 1, H, W) in [0, 1]
        features = self.classifier.encoder(normalise(view, self.classifier.spec))
        logits = self.classifier.head(features)
        return Step(loss=self._cost(logits, features, rows, device), features=features.detach())

    def _cost(self, logits: Tensor, features: Tensor, rows: Tensor, device: torch.device) -> Tensor:
        """The mean over all cells that count, of two classes and of three."""
        y, w, third = (a[rows].to(device) for a in (self._targets, self._weights, self._third))
        scale = None if self._pos_weight is None else self._pos_weight.to(device)
        if self.unclear is None:
            return self._loss(logits, y, w, scale)
        two, three = self._two.to(device), self._three.to(device)
        parts = [None if scale is None else scale[columns] for columns in (two, three)]
        binary = self._loss(logits[:, two], y[:, two], w[:, two], parts[0])
        other = cross_entropy(
            logits[:, three], self.unclear(features), y[:, three], w[:, three], third[:, three], parts[1], self._gamma
        )
        counts = counted(w[:, two]), counted((w + third)[:, three])
        return (binary * counts[0] + other * counts[1]) / (counts[0] + counts[1])

    def after_backward(self, step: int, progress: float) -> None:
        """Nothing to do."""

    def after_step(self, progress: float) -> None:
        """Nothing to do."""

    def parameter_groups(self) -> Sequence[Mapping[str, Any]]:
        """The encoder at the learning rate, the head at a multiple of it."""
        heads = [*self.classifier.head.parameters(), *(self.unclear.parameters() if self.unclear else ())]
        return [
            {"params": list(self.classifier.encoder.parameters())},
            {"params": heads, "lr_scale": self._scale},
        ]


class BestOnValidation(Hook):
    """Scores validation at the ends of epochs and keeps the weights of the best, for early stopping too.

    Args:
        task: whose validation rows.
        patience: epochs without a better score before the run stops; 0: never.
        epochs: of the whole run. At most about 20 are scored: with few labels epochs are short and many, and
            scoring each would cost more than training, besides choosing the luckiest of hundreds.
        device: where the model is.
    """

    def __init__(self, task: Labelled, patience: int, epochs: int, device: torch.device) -> None:
        self._task, self._patience, self._epochs, self._device = task, patience, epochs, device
        self.score: float | None = None
        self.epoch = 0
        self.weights: dict[str, Tensor] = {}
        self.history: list[float | None] = []

    def on_epoch_end(self, model: Supervised, step: int, epoch: int) -> Literal["stop"] | None:
        """Score, compare, remember."""
        every = max(1, self._epochs // 20)
        if len(self._task.val) == 0 or (epoch % every and epoch != self._epochs):
            return None
        probabilities = predict(model.classifier, self._task.pack, self._task.val, self._device)
        score = validate(self._task, probabilities)["macro_auroc"]
        self.history.append(score)
        if score is not None and (self.score is None or score > self.score):
            self.score, self.epoch = score, epoch
            self.weights = {k: v.detach().cpu().clone() for k, v in model.classifier.state_dict().items()}
        stale = self.score is not None and epoch - self.epoch >= self._patience > 0
        return "stop" if stale else None

    def on_log(self, model: Any, step: int, output: Step, line: dict[str, Any]) -> None:
        """The last validation score beside the loss."""
        if self.history and self.history[-1] is not None:
            line["val_auroc"] = self.history[-1]

    def state_dict(self) -> dict[str, Any]:
        """Score, epoch, weights, history."""
        return {"score": self.score, "epoch": self.epoch, "weights": self.weights, "history": self.history}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what was saved."""
        self.score, self.epoch = state["score"], state["epoch"]
        self.weights, self.history = state["weights"], list(state["history"])


def restore_best(classifier: Classifier, hook: BestOnValidation) -> None:
    """Give the classifier the weights of its best epoch, where validation chose one."""
    if hook.weights:
        classifier.load_state_dict(hook.weights)
    distributed.barrier()


def start_head(head: nn.Linear, weight: np.ndarray, bias: np.ndarray) -> None:
    """Put a fitted linear probe in place of a head (Kumar et al. 2022, arXiv:2202.10054: probe, then fine-tune)."""
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))


def reset_head(head: nn.Linear, seed: int) -> None:
    """Random weights that the seed alone decides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head.reset_parameters()


@torch.no_grad()
def settle_statistics(classifier: Classifier, task: Labelled, device: torch.device, batch_size: int) -> None:
    """Give batch-norm the statistics that fine-tuning will have: of batches of the training images, averaged.

    The probe's head is fitted on features in evaluation mode, and then trained on with those of training mode. Where
    the two differ, the head fits nothing: a random encoder's statistics are 0 and 1, no image's, so its first loss
    is far above that of the fitted head, and every other start looks better beside it.

    Args:
        classifier: its encoder's running statistics are replaced, in place.
        task: whose training rows.
        device: where to compute.
        batch_size: images a step of the run to come, over all processes.
    """
    norms = batchnorms(classifier.encoder)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over batches
    classifier.to(device).train()
    rows = np.random.default_rng(0).permutation(task.train)  # tables are often in the order of a label
    for start in range(0, len(rows) - batch_size + 1, batch_size):
        part = np.sort(rows[start : start + batch_size])
        classifier.encoder(to_input(task.pack.images(part), classifier.spec, device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
