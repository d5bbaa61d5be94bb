"""The load that `benchmarks/web_load.py` puts on a server, in small, against one of no jobs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SERVER = ROOT / "tests" / "web_fake_server.py"


def load_module():
    spec = importlib.util.spec_from_file_location("web_load", ROOT / "benchmarks" / "web_load.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["web_load"] = module
    spec.loader.exec_module(module)
    return module


def test_a_small_load(tmp_path):
    web_load = load_module()
    server = subprocess.Popen(
        [sys.executable, str(SERVER), str(tmp_path / "data"), "--runs"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = server.stdout.readline().strip()
        found = web_load.load(url, server.pid, clients=8, seconds=5)
        told = web_load.summary(found, 8, 5)
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()
    assert told["failed"] == []
    assert told["results"] > 0
    assert told["refusals_without_retry_after"] == 0
    assert told["health"]["asked"] >= 3
    assert {"upload 201", "result 200", "remove 204"} <= set(told["answers"])
    assert 0 < told["memory_mib"]["server"]["peak"] < 1000
