"""TensorBoard's protocol messages for what is no plain scalar, made without a writer or a thread of its own.

Imported only when a run is recorded, and from TensorBoard the messages alone: what makes them there (torch's
`summary.text`, the metadata of hparams) loads a copy of TensorFlow's types first, for as long as a run logs.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_STRING
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalar
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.text import metadata as text_metadata
from torch import Tensor

OPTIONS = (
    *("data", "hidden", "activation", "loss", "init", "update", "batch_size", "epochs", "lr", "l2", "dtype", "device"),
    "seed",
)
METRICS = ("loss/val", "loss/train", "accuracy/val", "overfitting/since epoch")
BINS = 24
MOST = 2**17  # entries that a histogram counts: every k-th of more


def histogram(tag: str, tensor: Tensor) -> Any:
    """How the finite entries of a tensor are spread; of a large tensor every k-th entry is counted."""
    flat = tensor.detach().reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):  # of a run that diverges
        return Summary(value=[Summary.Value(tag=tag, histo=_spread(flat))])


def _spread(flat: Tensor) -> Any:
    values = flat[:: math.ceil(flat.numel() / MOST) or 1].to("cpu").double().numpy()
    if not np.isfinite(values).all() or not values.size:
        values = np.append(values[np.isfinite(values)], 0.0)
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # all the same: a bar of some width is visible
        width = abs(low) * 1e-3 or 0.5
        low, high = low - width, high + width
    width = (high - low) / BINS
    counts = np.bincount(((values - low) / width).astype(np.int64).clip(0, BINS - 1), minlength=BINS)
    return HistogramProto(
        min=low,
        max=high,
        num=len(values),
        sum=float(values.sum()),
        sum_squares=float(values @ values),
        bucket_limit=[low + k * width for k in range(1, BINS + 1)],
        bucket=counts.tolist(),
    )


def picture(tag: str, image: Any) -> Any:
    """A picture of Pillow's as PNG."""
    out = io.BytesIO()
    image.save(out, format="PNG", compress_level=3)  # from 4 on, twice the time for a tenth of the bytes
    encoded = Summary.Image(height=image.height, width=image.width, colorspace=3, encoded_image_string=out.getvalue())
    return Summary(value=[Summary.Value(tag=tag, image=encoded)])


def text(tag: str, markdown: str) -> Any:
    """A text that TensorBoard shows as Markdown."""
    tensor = TensorProto(
        dtype=DT_STRING,
        string_val=[markdown.encode()],
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
    )
    metadata = text_metadata.create_summary_metadata(display_name="", description="")
    return Summary(value=[Summary.Value(tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor)])


def scalars(tags: Mapping[str, float]) -> Any:
    """Several scalars at one step."""
    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in tags.items()])


def layout(charts: Mapping[str, Mapping[str, Sequence[str]]]) -> Any:
    """The page of the plugin "custom scalars": category -> title of a chart -> regular expressions of its tags."""
    made = layout_pb2.Layout(
        category=[
            layout_pb2.Category(
                title=title,
                chart=[
                    layout_pb2.Chart(title=name, multiline=layout_pb2.MultilineChartContent(tag=list(tags)))
                    for name, tags in each.items()
                ],
            )
            for title, each in charts.items()
        ]
    )
    metadata = custom_scalar.create_summary_metadata()
    tensor = TensorProto(dtype=DT_STRING, string_val=[made.SerializeToString()])
    return Summary(value=[Summary.Value(tag=custom_scalar.CONFIG_SUMMARY_TAG, metadata=metadata, tensor=tensor)])


def hyperparameters(options: Mapping[str, Any], metrics: Sequence[str], group: str) -> list[Any]:
    """The start of a session of the plugin "hparams", in the run's own folder: so no run is added."""
    from google.protobuf import struct_pb2

    def value(option: Any) -> Any:
        if isinstance(option, bool):
            return struct_pb2.Value(bool_value=option)
        if isinstance(option, int | float):
            return struct_pb2.Value(number_value=option)
        return struct_pb2.Value(string_value=str(option))

    infos = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=tag) for tag in metrics]
    kinds = {bool: api_pb2.DATA_TYPE_BOOL, int: api_pb2.DATA_TYPE_FLOAT64, float: api_pb2.DATA_TYPE_FLOAT64}
    about = [
        api_pb2.HParamInfo(name=name, type=kinds.get(type(option), api_pb2.DATA_TYPE_STRING))
        for name, option in options.items()
    ]
    experiment = api_pb2.Experiment(hparam_infos=about, metric_infos=infos)
    start = plugin_data_pb2.SessionStartInfo(group_name=group, start_time_secs=time.time())
    for name, option in options.items():
        start.hparams[name].CopyFrom(value(option))
    return [
        _hparams("experiment", plugin_data_pb2.HParamsPluginData(experiment=experiment)),
        _hparams("session_start_info", plugin_data_pb2.HParamsPluginData(session_start_info=start)),
    ]


def session(config: Mapping[str, Any], name: str, run: str, *, classes: bool) -> list[Any]:
    """The hyper-parameters of one of a run's two networks."""
    options = {option: _plain(config[option]) for option in OPTIONS if option in config} | {"gradient": run}
    metrics = [tag for tag in METRICS if classes or not tag.startswith("accuracy")]
    return hyperparameters(options, metrics, f"{name} {run}")


def session_ended(*, well: bool) -> Any:
    """The end of that session."""
    status = api_pb2.STATUS_SUCCESS if well else api_pb2.STATUS_FAILURE
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    return _hparams("session_end_info", plugin_data_pb2.HParamsPluginData(session_end_info=end))


def _hparams(kind: str, data: Any) -> Any:
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data.SerializeToString())
    nothing = TensorProto(dtype=DT_FLOAT, tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=0)]))
    metadata = SummaryMetadata(plugin_data=plugin)
    return Summary(value=[Summary.Value(tag=f"_hparams_/{kind}", metadata=metadata, tensor=nothing)])


def _plain(option: Any) -> Any:
    return option if isinstance(option, bool | int | float | str) else "-".join(map(str, option or ())) or "none"
