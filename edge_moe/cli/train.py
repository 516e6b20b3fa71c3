"""edge-moe train, import, init, macs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.table import Table

from edge_moe.cli.console import console
from edge_moe.errors import UsageError

if TYPE_CHECKING:
    from edge_moe.bundle import Preprocessing
    from edge_moe.nn import Architecture
    from edge_moe.training.checkpoint import CheckpointConfig

__all__ = ["register"]

T = TypeVar("T")

_SMALL = 128  # pixels; below, an image is not cropped, and the first convolution keeps its size

BaseName = Annotated[
    str,
    typer.Option(
        "--base",
        help="mobilenet_v3_small, mobilenet_v3_large, resnet18, or MODULE:FUNCTION of a network of your own.",
    ),
]
ImageSize = Annotated[int | None, typer.Option(help="Pixels; 32 for embedded images, else 224.")]
StemStride = Annotated[
    int | None, typer.Option(help="Of the first convolution; 1 for images under 128 pixels, else 2.")
]
Experts = Annotated[int, typer.Option("--experts", "-k", help="K, the number of experts.")]
Seed = Annotated[int, typer.Option(min=0)]
Out = Annotated[Path, typer.Option("--output", "-o", help="The checkpoint to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command("train")(train)
    app.command("import")(import_)
    app.command("init")(init)
    app.command("macs")(macs)


def train(
    data: Annotated[
        str, typer.Argument(help="'digits', 'cluttered-digits', or a folder with train/<class>/ and val/<class>/.")
    ],
    output: Out,
    base: BaseName = "mobilenet_v3_small",
    experts: Experts = 4,
    image_size: ImageSize = None,
    stem_stride: StemStride = None,
    base_weights: Annotated[Path | None, typer.Option(help="A torchvision state dict, .pth or .safetensors.")] = None,
    finetune: Annotated[str, typer.Option(help="What of the base learns: all, head (last layer) or none.")] = "all",
    epochs: Annotated[int, typer.Option(help="Of the base.")] = 30,
    expert_epochs: Annotated[int, typer.Option(help="Of each expert, over its own draw of the data.")] = 8,
    batch_size: int = 64,
    learning_rate: Annotated[float, typer.Option(help="Of the base.")] = 0.1,
    expert_learning_rate: float = 0.002,
    weight_decay: float = 5e-4,
    augment: Annotated[
        str | None,
        typer.Option(help="none, crop, crop-flip or resized-crop-flip; crop for embedded images, else crop-flip."),
    ] = None,
    epsilon: Annotated[float, typer.Option(help="Share of the uniform distribution in an expert's draw.")] = 0.3,
    normalization: Annotated[
        str, typer.Option(help="Of the embeddings for k-means: none, l2, standardize.")
    ] = "standardize",
    ensemble: Annotated[str, typer.Option(help="bagging (base and expert together) or expert (alone).")] = "bagging",
    space: Annotated[str, typer.Option(help="Where base and expert are summed: logit or probability.")] = "logit",
    seed: Seed = 0,
    jobs: Annotated[
        int | None, typer.Option(help="Experts that train at once; as many as CPU cores, 1 on a GPU.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that decode images which do not fit in memory.")] = 0,
    only_expert: Annotated[
        int | None, typer.Option(help="Train this expert of the finished checkpoint again, as it was planned.")
    ] = None,
    force: Force = False,
) -> None:
    """Train base, gate and experts. A run that was stopped goes on where it stood when the command is repeated."""
    from edge_moe.data import open_data
    from edge_moe.embedded import EMBEDDED
    from edge_moe.progress import bars
    from edge_moe.training.config import TrainingConfig
    from edge_moe.training.run import Plan, retrain_expert
    from edge_moe.training.run import train as run

    if only_expert is not None:
        with bars() as progress:
            config = retrain_expert(output, only_expert, data=data, workers=workers, progress=progress)
        _report(config, output)
        return
    labels = open_data(data, "train", strict=True).classes
    settings = {
        "data": data if data in EMBEDDED else str(Path(data).absolute()),
        "seed": seed,
        "batch_size": batch_size,
        "augment": augment or ("crop" if data in EMBEDDED else "crop-flip"),
        "weight_decay": weight_decay,
        "base_weights": str(base_weights.absolute()) if base_weights else None,
        "finetune": finetune,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "normalization": normalization,
        "epsilon": epsilon,
        "expert_epochs": expert_epochs,
        "expert_learning_rate": expert_learning_rate,
        "ensemble": ensemble,
        "space": space,
    }
    training = _checked(settings, TrainingConfig)
    size = _or(image_size, 32 if data in EMBEDDED else 224)
    plan = Plan(
        architecture=_architecture(base, len(labels), size, stem_stride),
        experts=_checked_experts(experts),
        labels=labels,
        preprocessing=_preprocessing(size),
        config=training,
    )
    with bars() as progress:
        config = run(plan, output, force=force, jobs=_or(jobs, _default_jobs()), workers=workers, progress=progress)
    _report(config, output)


def import_(
    base: Annotated[Path, typer.Option(help="The base: a torchvision state dict, .pth or .safetensors.")],
    gate: Annotated[Path, typer.Option(help="The gate: weight [K, E] and bias [K] of a linear layer.")],
    experts: Annotated[list[Path], typer.Option(help="One file an expert: what follows the branch point.")],
    output: Out,
    architecture: Annotated[
        str, typer.Option(help="mobilenet_v3_small, mobilenet_v3_large or resnet18.")
    ] = "mobilenet_v3_small",
    more_experts: Annotated[list[Path] | None, typer.Argument(help="More experts.", metavar="[EXPERT]...")] = None,
    labels: Annotated[Path | None, typer.Option(help="A text file with one label a line.")] = None,
    image_size: ImageSize = None,
    stem_stride: StemStride = None,
    ensemble: Annotated[str, typer.Option(help="bagging (base and expert together) or expert (alone).")] = "bagging",
    space: Annotated[str, typer.Option(help="Where base and expert are summed: logit or probability.")] = "logit",
    force: Force = False,
) -> None:
    """Make a checkpoint of parts that were trained elsewhere: --base b.pth --gate g.pth --experts e0.pth e1.pth ..."""
    from edge_moe.output import check_target
    from edge_moe.training.checkpoint import from_state_dicts, read_weights, save_checkpoint

    check_target(output, force=force)
    files = [*experts, *(more_experts or [])]
    states = [(str(file), read_weights(file)) for file in (base, gate, *files)]
    names = _labels(labels, states[0])
    size = _or(image_size, 224)
    checkpoint = from_state_dicts(
        _architecture(architecture, len(names), size, stem_stride),
        states[0],
        states[1],
        states[2:],
        labels=names,
        preprocessing=_preprocessing(size),
        ensemble=_one_of("ensemble", ensemble, ("bagging", "expert")),
        space=_one_of("space", space, ("logit", "probability")),
    )
    save_checkpoint(output, checkpoint, force=force)
    typer.echo(f"{output}: {architecture}, {len(files)} experts, {len(names)} classes, imported")


def init(
    output: Out,
    base: BaseName = "mobilenet_v3_small",
    experts: Experts = 4,
    classes: int = 1000,
    image_size: Annotated[int, typer.Option(help="Pixels.")] = 224,
    stem_stride: StemStride = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Make an UNTRAINED checkpoint with random weights. Its latency is real, its answers are noise."""
    from edge_moe.output import check_target
    from edge_moe.training.checkpoint import save_checkpoint
    from edge_moe.training.untrained import new_untrained

    check_target(output, force=force)
    architecture = _architecture(base, classes, image_size, stem_stride)
    checkpoint = new_untrained(architecture, _checked_experts(experts), _preprocessing(image_size), seed=seed)
    save_checkpoint(output, checkpoint, force=force)
    typer.echo(f"{output}: {base}, {experts} experts, {classes} classes, UNTRAINED (for latency only)")


def macs(
    base: BaseName = "mobilenet_v3_small",
    classes: int = 1000,
    image_size: Annotated[int, typer.Option(help="Pixels.")] = 224,
    experts: Experts = 4,
    stem_stride: StemStride = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count multiply-accumulates (convolutions and linear layers) and parameters of each part, for one image."""
    import msgspec

    from edge_moe.nn.macs import mixture_cost

    cost = mixture_cost(_architecture(base, classes, image_size, stem_stride), _checked_experts(experts))
    rows = msgspec.structs.asdict(cost)
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
        return
    table = Table(title=f"{base}, {classes} classes, {image_size} x {image_size}, {experts} experts")
    table.add_column("part")
    table.add_column("MACs (M)", justify="right")
    table.add_column("parameters", justify="right")
    for name, part in rows.items():
        table.add_row(name.replace("_and_", " + one "), f"{part.macs / 1e6:,.3f}", f"{part.parameters:,}")
    console().print(table)


def _architecture(base: str, classes: int, image_size: int, stem_stride: int | None) -> Architecture:
    from edge_moe.nn import ARCHITECTURES, Architecture

    if ":" not in base:  # which names a network of one's own
        _one_of("base", base, (*ARCHITECTURES, "MODULE:FUNCTION"))
    stride = _or(stem_stride, 1 if image_size < _SMALL else 2)
    fields = {"base": base, "classes": classes, "image_size": image_size, "stem_stride": stride}
    return _checked(fields, Architecture)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _checked(fields: dict[str, Any], kind: type[T]) -> T:
    """Return `fields` as a `kind`; raise UsageError that names the field and its value where one is out of range."""
    import msgspec

    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`")
        if name not in fields:
            raise UsageError(str(error)) from None
        allowed = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"][name].get("enum")
        expected = f"expected one of {', '.join(map(str, allowed))}" if allowed else problem.lower().replace("`", "")
        raise UsageError(f"{name} is {fields[name]!r}; {expected}") from None


def _preprocessing(image_size: int) -> Preprocessing:
    """ImageNet's usual geometry and statistics: the shorter side to 8/7 of the crop, small images whole."""
    from edge_moe.bundle import Preprocessing

    resize = image_size if image_size < _SMALL else round(image_size * 256 / 224)
    return Preprocessing(image_size=image_size, resize=resize, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def _checked_experts(experts: int) -> int:
    if experts < 1:
        raise UsageError(f"--experts is {experts}; expected at least 1")
    return experts


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise UsageError(f"{name} is {value!r}; expected one of {', '.join(allowed)}")
    return value


def _labels(file: Path | None, base: tuple[str, Any]) -> tuple[str, ...]:
    """Return one label a class: the lines of `file`, or the numbers of the rows of the base's last matrix."""
    if file is not None:
        if not file.is_file():
            raise UsageError(f"{file} does not exist; expected a text file with one label a line")
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise UsageError(f"{file} is not a text file in UTF-8; expected one label a line") from None
        return tuple(line.strip() for line in lines if line.strip())
    # By name: a file need not keep the order of the layers.
    matrices = [tensor for key, tensor in sorted(base[1].items()) if key.endswith("weight") and tensor.ndim == 2]
    if not matrices:
        raise UsageError(f"{base[0]} has no linear layer, so the number of classes is unknown; give --labels")
    return tuple(f"class {i}" for i in range(len(matrices[-1])))


def _default_jobs() -> int:
    import torch

    from edge_moe.training.fit import pick_device

    return torch.get_num_threads() if pick_device().type == "cpu" else 1


def _report(config: CheckpointConfig, output: Path) -> None:
    from edge_moe.intervals import over_groups

    m = config.metrics
    table = Table(title=f"validation, {m['validation_images']} images")
    for column in ("", "accuracy", "95% interval"):
        table.add_column(column, justify="left" if not column else "right")
    for name in ("base", "mixture"):
        low, high = m[f"{name}_accuracy_95"]
        table.add_row(name, f"{m[f'{name}_accuracy']:.2%}", f"{low:.2%} to {high:.2%}")
    low, high = m["mixture_minus_base_95"]
    table.add_row(
        "mixture - base", f"{100 * m['mixture_minus_base']:+.2f} points", f"{100 * low:+.2f} to {100 * high:+.2f}"
    )
    for index, share in enumerate(m["expert_shares"]):
        table.add_row(f"share of expert {index}", f"{share:.1%}", "")
    console().print(table)
    if "validation_groups" in m:
        typer.echo(over_groups(m["validation_groups"], m["validation_images"]))
    typer.echo(f"checkpoint: {output}")
