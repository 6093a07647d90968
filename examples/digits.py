"""Train a small network on the handwritten digits that come with scikit-learn, and log every step of it.

Run by `make demo`. Two hidden layers, written out in numpy: forward pass, backward pass, SGD with momentum and a
learning rate that warms up and then falls along a cosine. Seven tracks get a point each step, two more each epoch.
The same training runs once more with logging disabled, so that the summary can say what logging really cost: a writer
in the background takes time from the training thread too, not only the calls. Nothing is downloaded. `--steps N`
makes it short, `--root DIR` says where the run goes.
"""

from __future__ import annotations

import argparse
import itertools
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, process_time, thread_time

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from penstock import Session
from penstock.query.picture import curve, encodes_braille
from penstock.records import Point, Receipt

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

LAYERS = (64, 128, 64, 10)
BATCH = 64
NOISE = 0.25  # standard deviation added to the pixels of a batch, so that the digits are not learnt by heart
PEAK_RATE = 0.02
WARM_UP = 0.05  # share of the steps in which the learning rate climbs to its peak
MOMENTUM = 0.9
VALIDATION_SHARE = 0.2


@dataclass
class Data:
    """Digits of 8 x 8 pixels scaled to 0..1, shape (n, 64), and their labels 0..9, shape (n,)."""

    train_x: Array
    train_y: Labels
    valid_x: Array
    valid_y: Labels

    @classmethod
    def load(cls, rng: np.random.Generator) -> Data:
        pixels, labels = load_digits(return_X_y=True)
        order = rng.permutation(len(labels))
        x, y = (pixels / 16.0)[order], labels[order]
        cut = int(len(y) * (1 - VALIDATION_SHARE))
        return cls(x[:cut], y[:cut], x[cut:], y[cut:])

    def batches(self, rng: np.random.Generator) -> Iterator[tuple[Array, Labels]]:
        """One epoch in a new order; the rest that does not fill a batch is left for another epoch."""
        order = rng.permutation(len(self.train_y))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            noise = rng.normal(0.0, NOISE, (BATCH, LAYERS[0]))
            yield self.train_x[chosen] + noise, self.train_y[chosen]


class Network:
    """A multilayer perceptron with ReLU and softmax; gradients by hand."""

    def __init__(self, rng: np.random.Generator) -> None:
        pairs = list(itertools.pairwise(LAYERS))
        self.weights = [rng.normal(0.0, math.sqrt(2.0 / fan_in), (fan_in, fan_out)) for fan_in, fan_out in pairs]
        self.biases = [np.zeros(fan_out) for _, fan_out in pairs]
        self._speed = [np.zeros_like(values) for values in (*self.weights, *self.biases)]

    def forward(self, x: Array) -> tuple[list[Array], Array]:
        """What each layer got as its input, and the probabilities of the ten digits, shape (n, 10)."""
        inputs = [x]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            inputs.append(np.maximum(inputs[-1] @ weight + bias, 0.0))
        scores = inputs[-1] @ self.weights[-1] + self.biases[-1]
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return inputs, powers / powers.sum(axis=1, keepdims=True)

    def backward(self, inputs: list[Array], probabilities: Array, y: Labels) -> list[Array]:
        """Gradients of the mean cross-entropy: those of the weights first to last, then those of the biases."""
        delta = probabilities.copy()
        delta[np.arange(len(y)), y] -= 1.0
        delta /= len(y)
        weights: list[Array] = []
        biases: list[Array] = []
        for layer in range(len(self.weights) - 1, -1, -1):
            weights.insert(0, inputs[layer].T @ delta)
            biases.insert(0, delta.sum(axis=0))
            if layer:
                delta = (delta @ self.weights[layer].T) * (inputs[layer] > 0.0)
        return [*weights, *biases]

    def descend(self, gradients: list[Array], rate: float) -> None:
        for values, speed, gradient in zip([*self.weights, *self.biases], self._speed, gradients, strict=True):
            speed *= MOMENTUM
            speed -= rate * gradient
            values += speed

    def judge(self, x: Array, y: Labels) -> tuple[float, float]:
        """Loss and accuracy."""
        return measure(self.forward(x)[1], y)

    def save(self, path: Path) -> None:
        arrays = {f"weight{n}": w for n, w in enumerate(self.weights, 1)}
        arrays |= {f"bias{n}": b for n, b in enumerate(self.biases, 1)}
        np.savez(path, **arrays)  # type: ignore[arg-type]


@dataclass
class Outcome:
    """What the summary is made of. Seconds: of the whole loop, of its calls that log, of CPU in all other threads."""

    points: int = 0
    lines: int = 0
    loop_s: float = 0.0
    logging_s: float = 0.0
    background_s: float = 0.0
    valid: tuple[float, float] = field(default=(math.nan, math.nan))


def measure(probabilities: Array, y: Labels) -> tuple[float, float]:
    """Mean cross-entropy and the share of right answers."""
    likelihood = probabilities[np.arange(len(y)), y]
    return float(-np.log(likelihood + 1e-12).mean()), float((probabilities.argmax(axis=1) == y).mean())


def learning_rate(step: int, steps: int) -> float:
    warm_up = max(1, int(steps * WARM_UP))
    if step < warm_up:
        return PEAK_RATE * (step + 1) / warm_up
    return PEAK_RATE * 0.5 * (1.0 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def train(session: Session, network: Network, data: Data, rng: np.random.Generator, steps: int) -> Outcome:
    """The training loop. Everything between two readings of the clock named ``logging`` is the price of logging."""
    loss_track, accuracy_track, rate_track = (session.track(f"train/{name}") for name in ("loss", "accuracy", "lr"))
    norm_tracks = [session.track(f"grad/layer{n}") for n in range(1, len(LAYERS))]
    update_track = session.track("grad/all")
    outcome = Outcome()
    step = epoch = 0
    began, others = perf_counter(), process_time() - thread_time()
    while step < steps:
        epoch += 1
        for x, y in data.batches(rng):
            rate = learning_rate(step, steps)
            inputs, probabilities = network.forward(x)
            loss, accuracy = measure(probabilities, y)
            gradients = network.backward(inputs, probabilities, y)
            network.descend(gradients, rate)
            norms = [float(np.linalg.norm(gradient)) for gradient in gradients[: len(LAYERS) - 1]]

            logging = perf_counter()
            loss_track.append(value=loss, step=step, epoch=epoch)
            accuracy_track.append(value=accuracy, step=step)
            rate_track.append(value=rate, step=step)
            for track, norm in zip(norm_tracks, norms, strict=True):
                track.append(value=norm, step=step)
            update_track.append(value=math.hypot(*norms), step=step)
            outcome.logging_s += perf_counter() - logging
            outcome.points += 4 + len(norms)

            step += 1
            if step == steps:
                break
        outcome.valid = network.judge(data.valid_x, data.valid_y)
        logging = perf_counter()
        session.track("valid/loss").append(value=outcome.valid[0], step=step, epoch=epoch)
        session.track("valid/accuracy").append(value=outcome.valid[1], step=step, epoch=epoch)
        session.log(f"epoch {epoch} done", level="info", epoch=epoch, step=step, accuracy=outcome.valid[1])
        outcome.logging_s += perf_counter() - logging
        outcome.points += 2
        outcome.lines += 1
    outcome.loop_s = perf_counter() - began
    outcome.background_s = process_time() - thread_time() - others
    return outcome


def control(options: argparse.Namespace) -> Outcome:
    """The same training with a session that accepts every call and stores nothing."""
    rng = np.random.default_rng(options.seed)
    data = Data.load(rng)
    with Session(name=options.name, workspace="demo", mode="disabled") as session:
        return train(session, Network(rng), data, rng, options.steps)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    # Matrices this small gain nothing from more threads, which would only be counted as the writer's.
    with threadpool_limits(1):
        run(options)
    return 0


def run(options: argparse.Namespace) -> None:
    unlogged = control(options)
    rng = np.random.default_rng(options.seed)
    data = Data.load(rng)
    network = Network(rng)
    with Session(
        name=options.name,
        workspace="demo",
        local_path=options.root,
        tags=["digits", "numpy"],
        description="A multilayer perceptron on the digits of scikit-learn",
    ) as session:
        session.parameters().set(
            steps=options.steps,
            seed=options.seed,
            batch=BATCH,
            lr={"peak": PEAK_RATE, "warm_up": WARM_UP, "schedule": "cosine"},
            momentum=MOMENTUM,
            noise=NOISE,
            model={"layers": list(LAYERS), "activation": "relu"},
        )
        session.log(f"training on {len(data.train_y)} digits, validating on {len(data.valid_y)}", level="info")
        outcome = train(session, network, data, rng, options.steps)
        outcome.lines += 1
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "digits.npz"
            network.save(model)
            session.files().upload(model, path="/models", tags=["final"])
        receipt = session.flush("disk")
        points = session.track("train/loss").read(start_index=0, limit=options.steps)["data"]
        report(session.folder_path, outcome, unlogged, receipt, points)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train on scikit-learn's digits and log every step with penstock.")
    parser.add_argument("--steps", type=int, default=4000, help="training steps (default: %(default)s)")
    parser.add_argument(
        "--root", type=Path, default=Path("penstock_runs"), help="folder for runs (default: %(default)s)"
    )
    parser.add_argument("--name", default=None, help="name of the run (default: digits and the time)")
    parser.add_argument("--seed", type=int, default=0, help="of data order and weights (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error(f"--steps must be at least 1, not {options.steps}")
    options.name = options.name or f"digits-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    return options


def report(folder: Path, outcome: Outcome, unlogged: Outcome, receipt: Receipt, points: list[Point]) -> None:
    """Say where the run lies and what is in it, as counted in its files, and draw its loss."""
    steps = [point["data"]["step"] for point in points]
    losses = [point["data"]["value"] for point in points]
    on_disk = lines_in(folder / "tracks")
    share = outcome.logging_s / outcome.loop_s
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and ".journal" not in path.parts)
    files = [path for path in (folder / "files").rglob("*") if path.is_file() and not path.name.startswith(".")]
    uncoded = not encodes_braille(sys.stdout.encoding)
    columns, rows = shutil.get_terminal_size((80, 24))
    print(f"run         {folder}")
    print(f"loss        {losses[0]:.4f} at first, {losses[-1]:.4f} at last ({len(losses)} steps)")
    print(f"validation  loss {outcome.valid[0]:.4f}, accuracy {outcome.valid[1]:.1%}")
    print(f"points      {outcome.points:,} appended, {on_disk:,} found on disk; {receipt.dropped} dropped")
    print(f"log lines   {outcome.lines} written, {lines_in(folder / 'logs')} found on disk")
    print(f"files       {', '.join(path.relative_to(folder).as_posix() for path in files)}")
    print(f"size        {size / 1e6:.1f} MB")
    print(f"training    {outcome.loop_s:.2f} s; {unlogged.loop_s:.2f} s with logging disabled (one run of each)")
    print(
        f"logging     {outcome.logging_s:.3f} s ({share:.1%}) in its calls, {outcome.background_s:.3f} s of CPU behind"
    )
    print()
    print(curve(steps, losses, width=columns, height=min(20, rows - 2), title="train/loss", ascii_only=uncoded))


def lines_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*.jsonl"):
        with path.open("rb") as lines:
            total += sum(1 for _ in lines)
    return total


if __name__ == "__main__":
    sys.exit(main())
