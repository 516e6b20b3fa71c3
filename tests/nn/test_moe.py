from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_moe.anytime import Ensemble, Space, ensemble
from edge_moe.nn import Gate, SingleGateMoE, ensemble_log_probabilities
from tests.nn.test_parts import small_base


@pytest.mark.parametrize("kind", ["bagging", "expert"])
@pytest.mark.parametrize("space", ["logit", "probability"])
def test_the_loss_sees_what_the_device_computes(kind: Ensemble, space: Space) -> None:
    generator = torch.Generator().manual_seed(0)
    base, expert = (torch.randn(50, 7, dtype=torch.float64, generator=generator) * 4 for _ in range(2))
    found = ensemble_log_probabilities(base, expert, kind, space).numpy()
    np.testing.assert_allclose(found, np.log(ensemble(base.numpy(), expert.numpy(), kind, space)), rtol=0, atol=1e-12)


def test_two_classes_worked_by_hand() -> None:
    base, expert = torch.tensor([[0.75, 0.25]]).log(), torch.tensor([[0.5, 0.5]]).log()

    def d(kind: Ensemble, space: Space) -> list[float]:
        return ensemble_log_probabilities(base, expert, kind, space).exp()[0].tolist()

    assert d("bagging", "logit") == pytest.approx([0.75, 0.25])  # the product of both, normalised
    assert d("bagging", "probability") == pytest.approx([0.625, 0.375])  # the mean of both
    assert d("expert", "logit") == d("expert", "probability") == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("space", ["logit", "probability"])
def test_the_loss_stays_finite_where_both_are_sure_and_wrong(space: Space) -> None:
    base, expert = torch.tensor([[200.0, -200.0]]), torch.tensor([[300.0, -300.0]])
    expert.requires_grad_(True)
    loss = -ensemble_log_probabilities(base, expert, "bagging", space)[0, 1]
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(expert.grad).all()


@torch.no_grad()
def test_a_mixture_gives_the_outputs_of_every_part() -> None:
    _, base = small_base()
    experts = [base.new_expert() for _ in range(3)]
    for k, expert in enumerate(experts):
        expert.get_submodule("head.2").bias += k
    mixture = SingleGateMoE(base, Gate(6, 3), experts).eval()
    found = mixture(torch.randn(2, 3, 16, 16))
    assert found.base_logits.shape == (2, 5)
    assert found.gate_logits.shape == (2, 3)
    assert found.expert_logits.shape == (2, 3, 5)
    for k in range(3):
        torch.testing.assert_close(found.expert_logits[:, k], found.base_logits + k)
