"""The method in torch: backbones and where they split, the single-gate mixture, and what its parts cost."""

from edge_moe.checkpoint import Architecture
from edge_moe.nn.architectures import ARCHITECTURES, build_base, build_empty_base
from edge_moe.nn.custom import base_builder
from edge_moe.nn.macs import Cost, MixtureCost, cost, mixture_cost, part_costs
from edge_moe.nn.moe import MixtureOutputs, SingleGateMoE, ensemble_log_probabilities
from edge_moe.nn.parts import Base, BaseOutputs, Expert, Gate, SplitBase

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Base",
    "BaseOutputs",
    "Cost",
    "Expert",
    "Gate",
    "MixtureCost",
    "MixtureOutputs",
    "SingleGateMoE",
    "SplitBase",
    "base_builder",
    "build_base",
    "build_empty_base",
    "cost",
    "ensemble_log_probabilities",
    "mixture_cost",
    "part_costs",
]
