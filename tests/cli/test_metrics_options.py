"""--metrics-port, --metrics-file and --pushgateway as a scraper, a collector and a gateway see them."""

from __future__ import annotations

import re
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from runner.jobs.rebuilding import rebuild as rebuild_job

if TYPE_CHECKING:
    from pathlib import Path

    from order_project import Project


def scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def test_a_scrape_while_the_run_is_on(built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}

    def reached(step: str) -> None:
        if step == "rebuild.1":
            found = re.search(
                r"^metrics: (http://localhost:\d+/metrics)$", built.capture.readouterr().err, re.MULTILINE
            )
            assert found, "the port that was taken is not told"
            seen["url"] = found[1]
        if step in ("rebuild.1", "rebuild.5"):
            seen[step] = scraped(seen["url"])

    monkeypatch.setattr(rebuild_job, "reached", reached)
    built.run("rebuild", "summary", "--engine", "threads", "--metrics-port", "0")
    folded = re.compile(r"^runner_events_folded_total\{projection=\"summary\"\} (\S+)$", re.MULTILINE)
    assert not folded.search(seen["rebuild.1"])
    counted = folded.search(seen["rebuild.5"])
    assert counted
    assert float(counted[1]) == 30
    with pytest.raises(urllib.error.URLError):
        scraped(seen["url"])


def test_a_file_and_a_push_at_the_end_of_a_run(built: Project, tmp_path: Path) -> None:
    pushed: list[tuple[str, str]] = []

    class Gateway(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # adds to what is there; PUT would replace it
            pushed.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *values: object) -> None:
            """Nothing on the test's stderr."""

    server = HTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        file = tmp_path / "runner.prom"
        metrics = ["--metrics-file", str(file), "--pushgateway", url]
        built.run("rebuild", "summary", "--engine", "threads", *metrics)
        built.run("rebuild", "summary", "--engine", "threads", *metrics, "--to", "nowhere", code=2)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    line = 'runner_events_folded_total{projection="summary"} 30.0'
    assert line in file.read_text()
    (path, body), *later = pushed
    assert path == "/metrics/job/runner_rebuild"
    assert line in body
    assert not later, "a command that was refused before it began overwrote what the run told"


def test_no_port_whatever_runner_toml_says(built: Project) -> None:
    toml = built.root / "runner.toml"
    with HTTPServer(("0.0.0.0", 0), BaseHTTPRequestHandler) as taken:
        toml.write_text(toml.read_text() + f"\n[metrics]\nport = {taken.server_port}\n")
        built.run("sync", code=2)
        built.run("sync", "--metrics-port", "none")
    assert "metrics:" not in built.err
    assert "--metrics-port" in built.run("sync", "--metrics-port", "no", code=2) + built.err
