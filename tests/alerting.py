"""A real Prometheus and a real Alertmanager, on ports of their own, in temporary folders."""

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from needed import needed

RESOLVE_TIMEOUT_S = 1
T = TypeVar("T")


@contextmanager
def alertmanager(folder: Path, hook: str) -> Iterator[str]:
    """Its address; it posts every change of an incident's alerts to *hook*, and forgets alerts without an end after a second."""
    config = {
        "global": {"resolve_timeout": f"{RESOLVE_TIMEOUT_S}s"},
        "route": {"receiver": "here", "group_by": ["incident"], "group_wait": "100ms", "group_interval": "300ms", "repeat_interval": "1h"},
        "receivers": [{"name": "here", "webhook_configs": [{"url": hook, "send_resolved": True}]}],
    }
    program = needed("prometheus-alertmanager")
    file = _written(folder / "alertmanager.yml", config)
    options = [f"--config.file={file}", f"--storage.path={folder / 'alertmanager'}", "--cluster.listen-address="]
    with _serving([program, *options, "--web.listen-address=127.0.0.1:0"], folder / "alertmanager.log") as url:
        yield url


@contextmanager
def prometheus(folder: Path, targets: Mapping[str, str], rules: Sequence[Mapping[str, object]], alertmanager: str) -> Iterator[str]:
    """Its address; it looks at *targets* (job: host:port) and its *rules* each second, and tells *alertmanager*."""
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(_written(folder / "rules.yml", {"groups": [{"name": "ours", "rules": list(rules)}]}))],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager.removeprefix("http://")]}]}]},
        "scrape_configs": [{"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()],
    }
    program = needed("prometheus")
    file = _written(folder / "prometheus.yml", config)
    options = [f"--config.file={file}", f"--storage.tsdb.path={folder / 'prometheus'}"]
    with _serving([program, *options, "--web.listen-address=127.0.0.1:0"], folder / "prometheus.log") as url:
        yield url


def get(url: str, **query: str) -> Any:
    """The JSON at *url*."""
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
        return json.load(answer)


def wait_for(found: Callable[[], T | Literal[False] | None], within_s: float = 30.0) -> T:
    """What *found* finds, as soon as it is something."""
    end = time.monotonic() + within_s
    while not (seen := found()):
        assert time.monotonic() < end, "not seen in time"
        time.sleep(0.05)
    return seen


def _written(file: Path, config: object) -> Path:
    file.write_text(json.dumps(config), "utf-8")  # JSON is YAML
    return file


@contextmanager
def _serving(command: Sequence[str], log: Path) -> Iterator[str]:
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, cwd=log.parent)
    try:
        address = wait_for(lambda: process.poll() is None and re.search(r'msg="Listening on" address=(\S+)', log.read_text()))
        yield f"http://{address[1]}"
    except AssertionError as failure:
        failure.add_note(log.read_text()[-2000:])
        raise
    finally:
        process.terminate()
        process.wait(20)
