"""The simulated batch: the real coordinator ends each picture once, and its figures agree."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "batch_simulation.py"
PICTURES, GPUS = 300, 5


@pytest.fixture(scope="module")
def simulation():
    spec = importlib.util.spec_from_file_location("batch_simulation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for what annotations mean
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def carried_out(simulation, folder, monkeypatch, **rates):
    """Simulate a batch; return its figures, its executor and the rows of its manifest."""
    made = []

    class Kept(simulation.SimulatedExecutor):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(simulation, "SimulatedExecutor", Kept)
    for name, value in rates.items():
        monkeypatch.setattr(simulation, name, value)
    fleet = simulation.Fleet(PICTURES, GPUS, 0.9, 4, 0.0, 0.0)
    figures = simulation.simulate(fleet, folder)
    place = simulation.Place(folder / "restored")
    with simulation.Manifest.open(place.manifest, read_only=True) as manifest:
        return figures, made[0], manifest.entries(limit=PICTURES + 1)


def test_each_picture_ends_once_though_workers_are_lost(simulation, tmp_path, monkeypatch):
    rates = {"LOST": 0.1, "FAILS": 0.05}
    figures, executor, rows = carried_out(simulation, tmp_path, monkeypatch, **rates)
    assert figures["lost_workers"] > 0
    assert figures["failed"] > 0
    assert max(executor.told) == 1
    ends = [row.state for row in rows]
    assert (ends.count("done"), ends.count("failed")) == (figures["done"], figures["failed"])
    assert figures["done"] + figures["failed"] == len(rows) == PICTURES
    given_up = [row for row in rows if not executor.told[simulation.number_of(row.name)]]
    assert all("it was begun 4 times" in row.reason for row in given_up)


def test_what_is_simulated_takes_as_long_as_its_work(simulation, tmp_path, monkeypatch):
    figures, executor, rows = carried_out(simulation, tmp_path, monkeypatch)
    virtual = figures["virtual_seconds"]
    restored = sum(row.done.seconds for row in rows if row.done)
    assert restored == pytest.approx(0.9 * PICTURES, rel=0.2)
    assert figures["worked_seconds"] >= restored + GPUS * simulation.START - 0.01
    assert virtual >= figures["worked_seconds"] / GPUS
    assert virtual < 3 * figures["worked_seconds"] / GPUS + figures["coordinator_seconds"]
    assert figures["coordinator_seconds"] >= figures["commit"]["seconds"] > 0
    assert figures["pictures_an_hour"] == pytest.approx(3600 * PICTURES / virtual, rel=0.01)
    assert figures["finish"]["times"] == figures["done"]
    assert executor.worked == pytest.approx(figures["gpus_busy"] * GPUS * virtual, rel=0.01)


def test_what_is_gathered_takes_fewer_turns_and_longer(simulation, tmp_path, monkeypatch, capsys):
    lines = []
    for gather in ("0", "2"):
        command = f"x --pictures 80 --gpus 10 --gather {gather} --folder {tmp_path}"
        command = [*command.split(), "--json", str(tmp_path / "figures.jsonl")]
        monkeypatch.setattr(sys, "argv", command)
        assert simulation.main() == 0
        out, err = capsys.readouterr()
        assert "SIMULATED" in err
        lines.append(json.loads(out))
    at_once, gathered = lines
    assert at_once["simulated"] is gathered["simulated"] is True
    assert gathered["commit"]["times"] < at_once["commit"]["times"]
    assert gathered["virtual_seconds"] > at_once["virtual_seconds"]
    kept = (tmp_path / "figures.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in kept] == lines
