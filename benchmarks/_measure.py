"""Measuring side by side: each round runs every arm, so that a noisy machine is noisy to all of them alike.

What is compared are medians over rounds.  A null arm, the same code as another arm, shows what the machine makes of
no difference at all: nothing finer than its spread can be told apart.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

Samples = dict[str, list[float]]
#: One round's work of an arm.  Answers what one call cost, in nanoseconds.
Arm = Callable[[], float]


def interleave(arms: Mapping[str, Arm], rounds: int) -> Samples:
    """Run all arms `rounds` times, in another order each time."""
    samples: Samples = {name: [] for name in arms}
    with _no_collector():
        for name in _orders(list(arms), rounds):
            samples[name].append(arms[name]())
    return samples


async def interleave_async(arms: Mapping[str, Callable[[], Awaitable[float]]], rounds: int) -> Samples:
    """As `interleave`, for arms that need the event loop."""
    samples: Samples = {name: [] for name in arms}
    with _no_collector():
        for name in _orders(list(arms), rounds):
            samples[name].append(await arms[name]())
    return samples


def _orders(names: list[str], rounds: int) -> Iterator[str]:
    """Shuffled, since each arm finds the processor as the one before has left it."""
    chance = random.Random(1)
    for _ in range(rounds):
        yield from chance.sample(names, len(names))


@contextmanager
def _no_collector() -> Iterator[None]:
    """A collection would fall on whichever arm is running; what collections cost is measured by themselves."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that has nothing to wait for, without the event loop's own costs."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return finished.value
    raise RuntimeError("this was to run without waiting for anything; was it a hit?")


def cpu_per_call(work: Callable[[], Coroutine[Any, Any, None]], calls: int) -> float:
    """CPU time of this thread that `work`, a batch of `calls`, takes per call; nanoseconds."""
    coroutine = work()
    before = time.thread_time_ns()
    drive(coroutine)
    return (time.thread_time_ns() - before) / calls


def median_of(measure: Arm, times: int) -> float:
    return statistics.median(measure() for _ in range(times))


def added(samples: Samples, arm: str, base: str) -> float:
    """What `arm` costs more than `base`: the median of the differences within each round."""
    return statistics.median(_differences(samples, arm, base))


def ratio(samples: Samples, above: str, below: str, base: str | None = None) -> tuple[float, float, float]:
    """`above` over `below`, each less `base`, within each round: the median, and the 10th and 90th percentile."""
    one, other = (
        (samples[above], samples[below])
        if base is None
        else (_differences(samples, above, base), _differences(samples, below, base))
    )
    return middle_and_spread([x / y for x, y in zip(one, other, strict=True)])


def middle_and_spread(values: Iterable[float]) -> tuple[float, float, float]:
    """The median, and the 10th and 90th percentile."""
    ordered = sorted(values)
    tenths = statistics.quantiles(ordered, n=10) if len(ordered) > 1 else ordered * 9
    return statistics.median(ordered), tenths[0], tenths[8]


def _differences(samples: Samples, arm: str, base: str) -> list[float]:
    return [x - y for x, y in zip(samples[arm], samples[base], strict=True)]


@dataclass(frozen=True, slots=True)
class Figure:
    section: str
    name: str
    value: float
    unit: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Gate:
    """A promise in figures.  `at_least` tells on which side of the bound it is kept."""

    name: str
    value: float
    bound: float
    unit: str
    at_least: bool
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        side = "at least" if self.at_least else "at most"
        verdict = "PASS" if self.holds else "FALLS SHORT"
        text = f"{self.name}: {number(self.value)} {self.unit} ({side} {number(self.bound)})"
        return f"{verdict:<11} {text}{_note(self.note)}"


@dataclass
class Report:
    """Prints what was measured as it comes, and keeps it for the summary."""

    figures: list[Figure] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    _section: str = ""

    def section(self, title: str) -> None:
        self._section = title
        print(f"\n{title}")

    def say(self, text: str) -> None:
        print(f"  {text}", flush=True)

    def figure(self, name: str, value: float, unit: str, note: str = "") -> None:
        self.figures.append(Figure(self._section, name, value, unit, note))
        self.say(f"{name:<58} {number(value):>9} {unit}{_note(note)}")

    def null(self, samples: Samples, arm: str, null: str) -> None:
        """Show what the same code against itself came to."""
        middle, low, high = ratio(samples, null, arm)
        self.figure(f"null arm, {arm} against itself", middle, "times", f"10-90 % of rounds: {low:.2f} to {high:.2f}")

    def gate(self, name: str, value: float, *, bound: float, unit: str, at_least: bool, note: str = "") -> None:
        gate = Gate(name, value, bound, unit, at_least, note)
        self.gates.append(gate)
        self.say(f"-> {gate}")

    def summary(self) -> None:
        print("\nSummary")
        for gate in self.gates:
            self.say(str(gate))

    def as_json(self) -> dict[str, Any]:
        return {
            "gates": [{**asdict(gate), "holds": gate.holds} for gate in self.gates],
            "figures": [asdict(figure) for figure in self.figures],
        }


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(low: float, high: float) -> str:
    return f"10-90 % of rounds: {number(low)} to {number(high)}"


def _note(note: str) -> str:
    return f"  [{note}]" if note else ""
