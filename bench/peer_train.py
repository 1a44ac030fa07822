"""The peer of `consilium bench train`: the same network, batch and threads in PyTorch.

The first line on standard input describes the run as JSON; "ready <version>" answers it. Each
further line, "default SECONDS" or "channels_last SECONDS", trains for so long and answers with
images per second. Batches stand ready as normalised tensors: no input pipeline is counted.
"""
import json
import sys
import time
import warnings

import torch
import torch.nn.functional as functional

run = json.loads(sys.stdin.readline())
torch.set_num_threads(run["threads"])
torch.manual_seed(1)
# PyTorch 1 warns of each lazy layer that it is new; standard error is for what goes wrong.
warnings.filterwarnings("ignore", "Lazy modules", UserWarning)


def build(layer, in_channels):
    kind = layer["kind"]
    three = run["extent"][0] > 1
    axes = slice(0, 3) if three else slice(1, 3)
    window = {key: tuple(layer[key][axes]) for key in ("size", "stride", "padding", "dilation")}
    if kind == "conv":
        module = torch.nn.Conv3d if three else torch.nn.Conv2d
        return module(in_channels, layer["channels"], window["size"], window["stride"],
                      window["padding"], window["dilation"], layer["groups"], layer["bias"])
    if kind == "linear":
        return torch.nn.LazyLinear(layer["channels"], layer["bias"])
    if kind == "batch_norm":
        return (torch.nn.BatchNorm3d if three else torch.nn.BatchNorm2d)(in_channels)
    if kind == "group_norm":
        return torch.nn.GroupNorm(layer["groups"], in_channels)
    if kind == "relu":
        return torch.nn.ReLU(inplace=True)
    if kind == "max_pool":
        return (torch.nn.MaxPool3d if three else torch.nn.MaxPool2d)(
            window["size"], window["stride"], window["padding"], window["dilation"])
    if kind == "average_pool":
        return (torch.nn.AvgPool3d if three else torch.nn.AvgPool2d)(
            window["size"], window["stride"], window["padding"])
    if kind == "global_average_pool":
        return (torch.nn.AdaptiveAvgPool3d if three else torch.nn.AdaptiveAvgPool2d)(1)
    if kind == "global_max_pool":
        return (torch.nn.AdaptiveMaxPool3d if three else torch.nn.AdaptiveMaxPool2d)(1)
    if kind == "dropout":
        return torch.nn.Dropout(layer["rate"])
    return torch.nn.Identity()  # add


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        channels = []
        self.plan = []
        self.steps = torch.nn.ModuleList()
        for layer in run["layers"]:
            source = layer["input"]
            incoming = run["channels"] if source < 0 else channels[source]
            self.steps.append(build(layer, incoming))
            channels.append(layer["channels"] if layer["kind"] in ("conv", "linear") else incoming)
            self.plan.append((layer["kind"], source, layer["from"]))

    def forward(self, image):
        results = []
        for module, (kind, source, other) in zip(self.steps, self.plan):
            x = image if source < 0 else results[source]
            if kind == "add":
                x = x + (image if other < 0 else results[other])
            elif kind == "linear":
                x = module(torch.flatten(x, 1))
            else:
                x = module(x)
            results.append(x)
        return results[-1]


class Trainer:
    def __init__(self, memory_format):
        three = run["extent"][0] > 1
        shape = [run["batch"], run["channels"]] + (run["extent"] if three else run["extent"][1:])
        form = {"default": torch.contiguous_format,
                "channels_last": torch.channels_last_3d if three else torch.channels_last}
        self.batches = [(torch.randn(shape).contiguous(memory_format=form[memory_format]),
                         torch.randint(0, run["classes"], (run["batch"],))) for _ in range(8)]
        self.model = Network()
        self.model(self.batches[0][0])  # sizes the lazy layers
        self.model = self.model.to(memory_format=form[memory_format])
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.step_count = 0

    def step(self):
        image, label = self.batches[self.step_count % len(self.batches)]
        self.step_count += 1
        self.optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(self.model(image), label).backward()
        self.optimizer.step()

    def run(self, seconds):
        steps = 0
        start = time.perf_counter()
        while steps == 0 or time.perf_counter() - start < seconds:
            self.step()
            steps += 1
        return steps * run["batch"] / (time.perf_counter() - start)


trainers = {form: Trainer(form) for form in ("default", "channels_last")}
for trainer in trainers.values():
    trainer.run(0.2)
print("ready", torch.__version__, flush=True)
for line in sys.stdin:
    memory_format, seconds = line.split()
    print("%.3f" % trainers[memory_format].run(float(seconds)), flush=True)
