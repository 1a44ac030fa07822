"""The peer of `consilium bench kernels`: the same operations on the same sizes in PyTorch.

The first line on standard input describes the sizes as JSON; "ready <version>" answers it. Each
further line, "KERNEL SECONDS", answers with the least milliseconds of a call, or "-" where PyTorch
has no such operation. Maps are tried in both memory formats, and the faster one counts.
"""
import json
import sys
import time

import torch
import torch.nn.functional as functional

sizes = json.loads(sys.stdin.readline())
torch.set_num_threads(sizes["threads"])
torch.manual_seed(1)
batch, channels, extent = sizes["batch"], sizes["channels"], sizes["extent"]
window, features, classes = sizes["window"], sizes["features"], sizes["classes"]
groups = channels // 8 if channels % 8 == 0 else 1
aten = torch.ops.aten


def of_maps(form):
    """Operations on maps in one memory format; each entry makes the call that is timed."""
    def new():
        return torch.randn(batch, channels, extent, extent).contiguous(memory_format=form)

    x, y, dy = new(), new(), new()
    weights = torch.randn(channels, channels, window, window).contiguous(memory_format=form)
    raw = torch.randint(0, 256, (batch * channels, 1, extent, extent), dtype=torch.uint8)
    angle = 0.02 * (torch.arange(batch * channels) % 16)
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin(), angle * 0 + 0.02], 1),
                        torch.stack([angle.sin(), angle.cos(), angle * 0 - 0.04], 1)], 1)
    ones, means = torch.ones(channels), torch.zeros(channels)
    pad = window // 2
    pooled, index = functional.max_pool2d(x, 2, return_indices=True)

    def conv_backward(*wanted):
        return lambda: aten.convolution_backward(dy, x, weights, None, (1, 1), (pad, pad), (1, 1),
                                                 False, (0, 0), 1, wanted)

    def augmented():
        grid = functional.affine_grid(turn, raw.shape, align_corners=False)
        prepared = raw.float().div_(255).sub_(0.5).mul_(2.0)
        return functional.grid_sample(prepared, grid, padding_mode="border",
                                      align_corners=False).mul_(1.1).add_(0.1)

    def masked():
        return aten.threshold_backward(dy, y, 0)

    def group_norm_backward():
        rest = extent * extent
        mean, deviation = torch.zeros(batch, groups), torch.ones(batch, groups)
        return lambda: aten.native_group_norm_backward(
            masked(), x, mean, deviation, ones, batch, channels, rest, groups, (True, True, True))

    return {
        "input_prepare": lambda: raw.float().div_(255).sub_(0.5).mul_(2.0),
        "input_prepare_augmented": augmented,
        "conv_forward": lambda: functional.conv2d(x, weights, padding=pad),
        "conv_backward_data": conv_backward(True, False, False),
        "conv_backward_weights": conv_backward(False, True, False),
        "batch_norm_train": lambda: functional.batch_norm(
            x, means, ones, ones, means, True, 0.1).relu_(),
        "batch_norm_infer": lambda: functional.batch_norm(
            x, means, ones, ones, means, False).relu_(),
        "batch_norm_backward": lambda: aten.native_batch_norm_backward(
            masked(), x, ones, means, ones, means, ones, True, 1e-5, (True, True, True)),
        "group_norm_forward": lambda: functional.group_norm(x, groups, ones, means).relu_(),
        "group_norm_backward": group_norm_backward(),
        "relu_forward": lambda: functional.relu(x),
        "relu_backward": masked,
        "add_relu": lambda: torch.add(x, y).relu_(),
        "accumulate": lambda: y.add_(x),
        "max_pool_forward": lambda: functional.max_pool2d(x, 2, return_indices=True),
        "max_pool_backward": lambda: aten.max_pool2d_with_indices_backward(
            pooled, x, (2, 2), (2, 2), (0, 0), (1, 1), False, index),
        "average_pool_forward": lambda: functional.avg_pool2d(x, 2),
        "average_pool_backward": lambda: aten.avg_pool2d_backward(
            pooled, x, (2, 2), (2, 2), (0, 0), False, True, None),
    }


def of_vectors():
    count = batch * channels * extent * extent
    x, y, z, w = (torch.randn(count) for _ in range(4))
    a, b = torch.randn(batch, features), torch.randn(batch, features)
    square, bias = torch.randn(features, features), torch.randn(features)
    logits = torch.randn(batch, classes, requires_grad=True)
    targets, labels = torch.rand(batch, classes), torch.randint(0, classes, (batch,))

    def loss(value):
        def call():
            logits.grad = None
            value().backward()
        return call

    def step(optimizer, **options):
        weights = torch.nn.Parameter(torch.randn(count))
        weights.grad = torch.randn(count)
        return optimizer([weights], lr=1e-3, **options).step

    return {
        "linear_forward": lambda: functional.linear(a, square, bias).relu_(),
        "linear_backward_data": lambda: a @ square,
        "linear_backward_weights": lambda: (b.T @ a, b.sum(0)),
        "dropout": lambda: functional.dropout(x, 0.5),
        "softmax_loss": loss(lambda: functional.cross_entropy(logits, labels, reduction="sum")),
        "sigmoid_loss": loss(lambda: functional.binary_cross_entropy_with_logits(
            logits, targets, reduction="sum")),
        "squared_loss": loss(lambda: functional.mse_loss(logits, targets, reduction="sum")),
        "sgd_step": step(torch.optim.SGD, momentum=0.9, weight_decay=1e-4),
        "adamw_step": step(torch.optim.AdamW),
        "axpy": lambda: y.add_(x, alpha=1e-3),
        "scale": lambda: x.mul_(-1.0),
        "fill": lambda: z.fill_(1.0),
        "proximal": lambda: z.add_(w - y, alpha=1e-3),
        "sum_of_squares": lambda: torch.linalg.vector_norm(w, dtype=torch.float64),
    }


def least(call, seconds):
    """Milliseconds of the fastest call, after one that is not counted."""
    call()
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return 1e3 * best


tables = [of_maps(torch.contiguous_format), of_maps(torch.channels_last), of_vectors()]
print("ready", torch.__version__, flush=True)
for line in sys.stdin:
    name, seconds = line.split()
    calls = [table[name] for table in tables if name in table]
    with torch.set_grad_enabled(name.endswith("_loss")):
        times = [least(call, float(seconds) / len(calls)) for call in calls]
    print("%.5f" % min(times) if times else "-", flush=True)
