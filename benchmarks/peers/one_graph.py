"""What a user of ONNX Runtime could do without our runtime: the whole mixture in one graph, made of the artifacts.

The runtime is measured against it, so this is the fastest graph that we know how to build. Nothing is quantized anew:
the weights and their scales are those of the artifacts.

Axis letters: H W height and width, K experts, Y classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_moe.backends.base import Tensor, one_line
from edge_moe.backends.onnx_session import open_session
from edge_moe.benchmarks.peers.piece import Piece
from edge_moe.bundle import ArtifactSet, Bundle, Manifest, expert_name
from edge_moe.errors import BackendError, ConversionError, MissingExtraError, UsageError

if TYPE_CHECKING:
    import onnx

__all__ = ["EXITED", "OneGraph", "all_experts_graph", "early_exit_graph"]

EXITED = -1  # in place of an expert's index
_OUTPUTS = ["scores", "expert"]


class OneGraph:
    """A graph of this module in ONNX Runtime, opened with the options of the backend "onnx"."""

    def __init__(self, data: bytes, threads: int = 1) -> None:
        """Load the graph.

        Raises:
            MissingExtraError: onnxruntime is not installed.
            BackendError: ONNX Runtime refuses the graph.
        """
        self._session = open_session(data, threads=threads, what="graph")
        self._takes_tau = len(self._session.get_inputs()) > 1

    def __call__(self, x: Tensor, tau: float) -> tuple[Tensor, int]:
        """Answer for an input tensor, float32 [1, H, W, 3]: the scores [Y], and the expert that ran or EXITED.

        `tau` is rounded to float32; the graph of all experts has none.

        Raises:
            BackendError: another shape or dtype, or ONNX Runtime failed.
        """
        feed: dict[str, Any] = {"image": x}
        if self._takes_tau:
            feed["tau"] = np.array(tau, np.float32)
        try:
            scores, expert = self._session.run(_OUTPUTS, feed)
        except Exception as error:  # its exceptions have no common base but this one
            raise BackendError(f"ONNX Runtime could not run the graph: {one_line(error)}") from None
        return scores[0], int(expert[0])


def early_exit_graph(bundle: Bundle, artifacts: ArtifactSet) -> bytes:
    """Return the early exit, max_experts = 1, in one graph: what `Runtime.predict_tensor` answers, in float32.

    Inputs `image` [1, H, W, 3] and `tau` [], both float32; outputs `scores` float32 [1, Y], and `expert` int64 [1]:
    the one that ran, or EXITED.

    An If decides whether the gate runs, one in it whether an expert does, and a binary tree of Ifs which one. An
    expert's constants lie in its branch: where they are constants of the whole graph, ONNX Runtime 1.31 neither folds
    them nor lays them out beforehand, and the expert takes three times as long.

    Raises:
        ConversionError: the artifacts do not fit into one graph.
        MissingExtraError: the package onnx is not installed.
        UsageError: `artifacts` are of another backend.
    """
    manifest, models = bundle.manifest, _models(bundle, artifacts)
    base = _part(models["base"], "base/", "image")
    trunk = base.needed("base/logits")

    def tree(first: int, last: int) -> tuple[str, Piece]:
        if first == last:
            at = f"{expert_name(first)}/"
            piece, features = _rest(base, trunk, "base/features", at + "base/")
            piece.extend(_part(models[expert_name(first)], at, features))
            piece = piece.direct(at + "logits")
            _add_ensemble(piece, manifest, at + "logits", at + "d")
            piece.add("Mul", [at + "d", "share"], at + "scores")
            piece.add("Constant", [], at + "expert", value_ints=[first])
            return at, piece
        at, piece, middle = f"experts_{first}_{last}/", Piece(), (first + last) // 2
        piece.add("Greater", ["best", piece.constant(at + "middle", np.array([middle]))], at + "upper")
        _add_if(piece, manifest, at, at + "upper", tree(middle + 1, last), tree(first, middle))
        return at, piece

    unsure, embedding = _rest(base, trunk, "base/embedding", "gate/base/")
    unsure.extend(_part(models["gate"], "gate/", embedding))
    unsure = unsure.direct("gate/logits")
    unsure.add("Softmax", ["gate/logits"], "g", axis=-1)
    unsure.add("ReduceMax", ["g"], "share")
    unsure.add("ArgMax", ["g"], "best", axis=-1, keepdims=0)
    unsure.add("Mul", ["share", "doubt"], "alpha")
    unsure.add("Less", ["alpha", "tau"], "useless")
    _add_if(unsure, manifest, "unsure/", "useless", _exit("exit_late/"), tree(0, manifest.experts - 1))

    _add_doubt(trunk)
    trunk.add("Less", ["doubt", "tau"], "sure")
    _add_if(trunk, manifest, "", "sure", _exit("exit/"), ("unsure/", unsure))
    return _model(trunk, manifest, models["base"], {"tau": ()})


def all_experts_graph(bundle: Bundle, artifacts: ArtifactSet) -> bytes:
    """Return the mixture as a trace has it: everything runs always, and a mask picks what tau = 0 would.

    Input `image` float32 [1, H, W, 3]; outputs `scores` float32 [1, Y] and `expert` int64 [1], max_experts = 1.

    Raises:
        ConversionError: the artifacts do not fit into one graph.
        MissingExtraError: the package onnx is not installed.
        UsageError: `artifacts` are of another backend.
    """
    manifest, models = bundle.manifest, _models(bundle, artifacts)
    experts = [expert_name(k) for k in range(manifest.experts)]
    whole = _part(models["base"], "base/", "image")
    whole.extend(_part(models["gate"], "gate/", "base/embedding"))
    for name in experts:
        whole.extend(_part(models[name], f"{name}/", "base/features"))
    _add_doubt(whole)
    whole.add("Softmax", ["gate/logits"], "g", axis=-1)
    whole.add("ArgMax", ["g"], "expert", axis=-1, keepdims=0)
    whole.add("Concat", [f"{name}/logits" for name in experts], "logits", axis=0)  # [K, Y]
    _add_ensemble(whole, manifest, "logits", "d")
    indices, zero = whole.constant("indices", np.arange(manifest.experts)), whole.constant("zero", np.float32(0))
    whole.add("Equal", [indices, "expert"], "chosen")
    whole.add("Where", ["chosen", "g", zero], "weights")  # [1, K]
    whole.add("MatMul", ["weights", "d"], "scores")
    return _model(whole.direct(*_OUTPUTS), manifest, models["base"], {})


def _models(bundle: Bundle, artifacts: ArtifactSet) -> dict[str, onnx.ModelProto]:
    """Read the parts, and check that one graph can hold them: it has one version of every operator."""
    if artifacts.backend != "onnx":
        raise UsageError(f"the artifacts are of the backend {artifacts.backend!r}; expected 'onnx'")
    try:
        import onnx
    except ModuleNotFoundError:
        raise MissingExtraError("onnx", "convert", "making one graph of the artifacts") from None
    models = {name: onnx.load_from_string(bundle.read(artifacts.parts[name])) for name in bundle.manifest.parts}
    versions = {name: _versions(model) for name, model in models.items()}
    for name, found in versions.items():
        if found != versions["base"]:
            raise ConversionError(f"{name} is in {found}, base in {versions['base']}; convert the checkpoint again")
    return models


def _versions(model: onnx.ModelProto) -> str:
    operators = sorted(f"{one.domain or 'ai.onnx'} {one.version}" for one in model.opset_import)
    return ", ".join([f"IR {model.ir_version}", *operators])


def _part(model: onnx.ModelProto, prefix: str, given: str) -> Piece:
    """Return a part that reads the tensor `given`; its outputs are `prefix` + the part's own."""
    graph = model.graph
    return Piece(list(graph.node), list(graph.initializer)).renamed(prefix, {graph.input[0].name: given})


def _rest(base: Piece, trunk: Piece, output: str, prefix: str) -> tuple[Piece, str]:
    """Return what makes `output` of the `trunk`'s tensors, for a branch, and the output's name in there.

    A DequantizeLinear at the border is repeated, so that a branch is handed the integers: it may want just these.
    """
    done = {name for node in trunk.nodes for name in node.output}
    nodes = [node for node in base.needed(output).nodes if node.output[0] not in done]
    reads = {output, *(name for node in nodes for name in node.input)}
    nodes = [n for n in trunk.nodes if n.op_type == "DequantizeLinear" and n.output[0] in reads] + nodes
    reads.update(name for node in nodes for name in node.input)
    made = any(output in node.output for node in nodes)
    constants = [one for one in base.constants if one.name in reads]
    return Piece(nodes, constants).renamed(prefix, {}), prefix + output if made else output


def _add_doubt(piece: Piece) -> None:
    """Compute phi [1, Y], and doubt [1, 1]: 1 - max phi."""
    piece.add("Softmax", ["base/logits"], "phi", axis=-1)
    piece.add("ReduceMax", ["phi"], "sureness")
    piece.add("Sub", [piece.constant("one", np.float32(1)), "sureness"], "doubt")


def _add_ensemble(piece: Piece, manifest: Manifest, logits: str, to: str) -> None:
    """Compute d [..., Y] of experts' logits [..., Y], as `anytime.ensemble` does."""
    if manifest.ensemble == "expert":
        piece.add("Softmax", [logits], to, axis=-1)
    elif manifest.space == "logit":
        piece.add("Add", ["base/logits", logits], f"{to}/sum")
        piece.add("Softmax", [f"{to}/sum"], to, axis=-1)
    else:
        piece.add("Softmax", [logits], f"{to}/expert", axis=-1)
        piece.add("Add", ["phi", f"{to}/expert"], f"{to}/sum")
        piece.add("Mul", [f"{to}/sum", piece.constant(f"{to}/half", np.float32(0.5))], to)


def _exit(at: str) -> tuple[str, Piece]:
    piece = Piece()
    piece.add("Identity", ["phi"], at + "scores")
    piece.add("Constant", [], at + "expert", value_ints=[EXITED])
    return at, piece


def _add_if(
    piece: Piece, manifest: Manifest, at: str, condition: str, then: tuple[str, Piece], other: tuple[str, Piece]
) -> None:
    """Answer, under names that begin with `at`, by one of two branches: the beginning of its names, what is in it."""
    branches = {key: _graph(pair[1], manifest, pair[0], []) for key, pair in (("then", then), ("else", other))}
    outputs = [at + name for name in _OUTPUTS]
    piece.add("If", [condition], *outputs, then_branch=branches["then"], else_branch=branches["else"])


def _graph(piece: Piece, manifest: Manifest, at: str, inputs: Sequence[onnx.ValueInfoProto]) -> onnx.GraphProto:
    """Return the whole, or a branch, whose outputs are `at` + scores and `at` + expert."""
    from onnx import TensorProto, helper

    scores = helper.make_tensor_value_info(at + "scores", TensorProto.FLOAT, [1, len(manifest.labels)])
    expert = helper.make_tensor_value_info(at + "expert", TensorProto.INT64, [1])
    return helper.make_graph(piece.nodes, at or "mixture", inputs, [scores, expert], piece.constants)


def _model(piece: Piece, manifest: Manifest, like: onnx.ModelProto, more: Mapping[str, tuple[int, ...]]) -> bytes:
    """Return a checked model in the versions of `like`; `more` are the shapes of its inputs besides the image."""
    from onnx import TensorProto, checker, helper

    shapes = {"image": manifest.parts["base"].inputs[0].shape, **more}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = _graph(piece, manifest, "", inputs)
    model = helper.make_model(graph, opset_imports=list(like.opset_import), ir_version=like.ir_version)
    try:
        checker.check_model(model, full_check=True)
    except Exception as error:  # of the checker or of the shape inference
        raise ConversionError(f"the artifacts do not make one valid graph: {one_line(error)}") from error
    return bytes(model.SerializeToString())
