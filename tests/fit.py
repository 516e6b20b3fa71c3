"""Trains the two networks that the tests load and writes them to tests/data. Run once, by hand; not a test.

    python -m tests.fit

The numbers are stored as float16, which every processor reads as the same float32. Of a MobileNetV3-Small only stem,
BatchNorm and last layer are trained and stored; the other weights are random and in closed form, see `fixed.fill`. Of
`tests.own` every weight is. Base, gate and experts learn as `edge-moe train` has it, from 500 images a class, so that
they are sure of most answers, generalise, and are not the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional

from edge_moe.data import open_data
from edge_moe.nn import SingleGateMoE
from edge_moe.progress import Silent
from edge_moe.training.fit import settle_statistics
from edge_moe.training.gate import cluster, train_gate
from tests import own, tiny

MOBILENET = "mobilenet_v3_small"
IMAGES, SEED = 500, 1  # of each class; not the images that the tests have
BATCH, EPOCHS, EXPERT_EPOCHS, RATE = 32, 8, 4, 0.01
DOUBT = 4.0  # by which the base's logits are made smaller: some images exit, some do not
UNIFORM = 0.2  # share of the uniform distribution in what an expert sees


def learned(mixture: SingleGateMoE, base: str) -> Iterator[str]:
    """Yield the names of what is trained."""
    norms = {name for name, one in mixture.named_modules() if isinstance(one, nn.BatchNorm2d)}
    for name, tensor in mixture.state_dict().items():
        layer = name.rpartition(".")[0]
        small = layer in {*norms, "gate"} or layer.endswith(("features.0.0", "classifier.3"))
        if tensor.is_floating_point() and (small or base != MOBILENET):
            yield name


def learn(module: nn.Module, share: Tensor, loss: Callable[[Tensor], Tensor], epochs: int) -> None:
    """Minimise `loss` of the indices of a batch, drawn by their `share` [N]; parameters without gradient stay."""
    chosen = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(chosen, lr=RATE, weight_decay=0.01)
    steps = epochs * (len(share) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    module.train()
    for _ in range(steps):
        optimiser.zero_grad()
        loss(torch.multinomial(share, BATCH)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


def fit(base: str, folder: Path) -> SingleGateMoE:
    """Return a mixture that learned."""
    torch.manual_seed(0)
    plan, mixture = tiny.plan(folder, base), tiny.new_mixture(base)
    images = open_data(str(tiny.write_images(folder, train=IMAGES, seed=SEED)), "train")
    x = torch.from_numpy(np.concatenate(list(images.tensors(plan.preprocessing))).transpose(0, 3, 1, 2).copy())
    y = torch.from_numpy(np.array(images.labels))
    trained = set(learned(mixture, base))
    for name, parameter in mixture.named_parameters():
        parameter.requires_grad_(name in trained)

    learn(mixture.base, torch.ones(len(x)), lambda i: functional.cross_entropy(mixture.base(x[i]).logits, y[i]), EPOCHS)
    settle_statistics(mixture.base, iter([x]))
    last = mixture.base.get_submodule("classifier" if base != MOBILENET else "classifier.3")
    with torch.no_grad():
        for tensor in last.parameters():
            tensor /= DOUBT
        logits, features, embedding = mixture.base.eval()(x)
    embeddings = embedding.numpy()
    mixture.gate = train_gate(embeddings, cluster(embeddings, tiny.EXPERTS, plan.config), plan.config, Silent())
    with torch.no_grad():
        shares = (1 - UNIFORM) * mixture.gate(embedding).softmax(1) + UNIFORM / tiny.EXPERTS
    for k, expert in enumerate(mixture.experts):
        own_tail = mixture.base.new_expert().state_dict()
        expert.load_state_dict(own_tail)

        def loss(i: Tensor, expert: nn.Module = expert) -> Tensor:
            return functional.cross_entropy(logits[i] + expert(features[i]), y[i])

        learn(expert, shares[:, k], loss, EXPERT_EPOCHS)
        settle_statistics(expert, iter([features]))
    return mixture.eval()


def main() -> None:
    """Write both files, and say how the networks do on the images of the tests."""
    tiny.DATA.mkdir(exist_ok=True)
    for base in (MOBILENET, own.NAME):
        with tempfile.TemporaryDirectory() as folder, tiny.one_thread():
            mixture = fit(base, Path(folder) / "images")
            state = mixture.state_dict()
            stored = {name: state[name].numpy().astype(np.float16) for name in learned(mixture, base)}
            assert all(np.isfinite(values).all() for values in stored.values())
            save_file(stored, tiny.weights(base))
        print(tiny.weights(base), tiny.weights(base).stat().st_size, "bytes")


if __name__ == "__main__":
    main()
