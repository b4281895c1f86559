"""`weather ui` on a real home: what its own pages do in a real browser, and what pages from elsewhere cannot do."""

import json
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, Page, Response
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from weather_platform.resources.registry import PRODUCTION
from weather_platform_tests.e2e.homes import MadeHome, copied, shared_home
from weather_platform_tests.ui.browser import chromium

KEPT, TAKEN = "max_temp_tomorrow", "rain_tomorrow"
"""The target that the attacks aim at, and the one whose alias the launchpad takes away."""
PATIENCE_MS = 120_000
REBOUND = "rebind.example"
LAUNCH = """mutation($execution: ExecutionParams!) {
  launchRun(executionParams: $execution) { __typename ... on LaunchRunSuccess { run { runId } } } }"""


@dataclass(frozen=True)
class Interfaces:
    """A running `weather ui`."""

    home: MadeHome
    process: "subprocess.Popen[str]"
    dagster: str
    mlflow: str
    said: list[str]

    def runs(self) -> int:
        """How many runs Dagster knows of, asked for by a program."""
        answer = httpx.post(
            f"http://{self.dagster}/graphql",
            json={"query": "{ runsOrError { ... on Runs { results { runId } } } }"}, timeout=60,
        )  # fmt: skip
        return len(answer.raise_for_status().json()["data"]["runsOrError"]["results"])

    def sensors(self) -> dict[str, str]:
        """Every sensor with its status."""
        query = """{ sensorsOrError(repositorySelector:
            {repositoryLocationName: "weather_platform", repositoryName: "__repository__"}) {
            ... on Sensors { results { name sensorState { status } } } } }"""
        answer = httpx.post(f"http://{self.dagster}/graphql", json={"query": query}, timeout=60)
        found = answer.raise_for_status().json()["data"]["sensorsOrError"]["results"]
        return {sensor["name"]: sensor["sensorState"]["status"] for sensor in found}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def running(home: MadeHome, *options: str) -> Iterator[Interfaces]:
    """`weather ui` of a home, on free ports, until the block ends."""
    port, mlflow_port = free_port(), free_port()
    process = home.start("ui", "--port", str(port), "--mlflow-port", str(mlflow_port), *options)
    assert process.stdout is not None
    said: list[str] = []
    try:
        while "Ctrl-C" not in "".join(said[-1:]):
            said.append(process.stdout.readline())
            assert process.poll() is None, "".join(said)
        yield Interfaces(home, process, f"127.0.0.1:{port}", f"127.0.0.1:{mlflow_port}", said)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)


@pytest.fixture(scope="module")
def interfaces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interfaces]:
    with running(copied(shared_home(tmp_path_factory), tmp_path_factory.mktemp("ui") / "home")) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1") as found:
        yield found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    found = browser.new_page(viewport={"width": 1400, "height": 900})
    found.set_default_timeout(PATIENCE_MS)
    found.set_default_navigation_timeout(PATIENCE_MS)
    yield found
    found.close()


def taking_away(target: str) -> dict[str, Any]:
    """Variables of the mutation that takes Production away."""
    selector = {
        "repositoryLocationName": "weather_platform", "repositoryName": "__repository__", "jobName": "rollback",
    }  # fmt: skip
    return {"execution": {"selector": selector, "runConfigData": rollback_config(target)}}


def rollback_config(target: str) -> dict[str, Any]:
    return {"ops": {"roll_back": {"config": {"target": target, "nowhere": True, "reason": "a test of the guard"}}}}


@contextmanager
def elsewhere(host: str, html: str) -> Iterator[str]:
    """A page of another origin."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{host}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


ATTACK = """<body><script>
const asked = {query: `%(mutation)s`, variables: %(variables)s};
const query = '?query=' + encodeURIComponent(asked.query) + '&variables=' + encodeURIComponent(JSON.stringify(asked.variables));
const graphql = 'http://%(dagster)s/graphql', mlflow = 'http://%(mlflow)s';
const quietly = (url, more) => fetch(url, {mode: 'no-cors', ...more}).catch(() => null);
const form = (type, name, value) => {
  const made = document.body.appendChild(document.createElement('form'));
  const frame = document.body.appendChild(document.createElement('iframe'));
  frame.name = made.target = name;
  made.action = graphql + (type === 'text/plain' ? '' : query); made.method = 'POST'; made.enctype = type;
  const field = made.appendChild(document.createElement('input'));
  field.name = value; field.value = type === 'text/plain' ? '"}' : '';
  made.submit();
};
const socket = new Promise(done => {
  const opened = new WebSocket('ws://%(dagster)s/graphql', 'graphql-ws');
  opened.onopen = () => { opened.send(JSON.stringify({id: '1', type: 'start', payload: asked})); done('open'); };
  opened.onerror = () => done('refused');
});
(async () => {
  await quietly(graphql + query);
  await quietly(graphql + query, {method: 'POST'});
  await quietly(graphql, {method: 'POST', body: JSON.stringify(asked), headers: {'Content-Type': 'text/plain; application/json'}});
  await quietly(graphql + query, {method: 'POST', body: new URLSearchParams({a: 1})});
  await quietly(graphql, {method: 'POST', mode: 'cors', body: JSON.stringify(asked), headers: {'Content-Type': 'application/json'}});
  await quietly('http://%(dagster)s/report_asset_materialization/features?partition=2015', {method: 'POST'});
  await quietly(mlflow + '/ajax-api/2.0/mlflow/experiments/delete', {method: 'POST', mode: 'cors',
    body: JSON.stringify({experiment_id: '1'}), headers: {'Content-Type': 'application/json'}});
  await quietly(mlflow + '/ajax-api/2.0/mlflow/experiments/delete', {method: 'POST', body: JSON.stringify({experiment_id: '1'})});
  const image = new Image(); image.src = graphql + query;
  await new Promise(done => { image.onerror = done; });
  form('text/plain', 'one', JSON.stringify(asked).slice(0, -1) + ',"a":"');
  form('multipart/form-data', 'two', 'a');
  const read = await fetch('http://%(dagster)s/server_info').then(r => r.text()).catch(() => 'unread');
  document.body.dataset.ended = (await socket) + ' ' + read;
})();
</script></body>"""  # noqa: E501


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_page_of_another_origin_cannot_remove_production_or_an_experiment(
    interfaces: Interfaces, page: Page, host: str
) -> None:
    """From another port of the same host, which a browser calls the same site, and from another site."""
    before = interfaces.home.registry.production(KEPT)
    runs = interfaces.runs()
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    attack = ATTACK % {
        "mutation": LAUNCH, "variables": json.dumps(taking_away(KEPT)),
        "dagster": interfaces.dagster, "mlflow": interfaces.mlflow,
    }  # fmt: skip
    with elsewhere(host, attack) as url:
        page.goto(url)
        page.wait_for_selector("body[data-ended]")
        assert page.get_attribute("body", "data-ended") == "refused unread"
        # The last attack: the page itself goes there, as if somebody had clicked a link.
        query = str(httpx.QueryParams({"query": LAUNCH, "variables": json.dumps(taking_away(KEPT))}))
        gone = page.goto(f"http://{interfaces.dagster}/graphql?{query}", referer=url)
    assert gone is not None
    assert gone.status == 403
    there = [
        answer
        for answer in answers
        if answer.url.startswith((f"http://{interfaces.dagster}", f"http://{interfaces.mlflow}"))
    ]
    assert len(there) >= 7  # those whose preflight was refused are not among them
    assert {(answer.request.method, answer.url[:60]) for answer in there if answer.status != 403} == set()
    assert interfaces.runs() == runs
    assert interfaces.home.registry.production(KEPT) == before
    experiment = httpx.get(f"http://{interfaces.mlflow}/api/2.0/mlflow/experiments/get?experiment_id=1", timeout=60)
    assert experiment.json()["experiment"]["lifecycle_stage"] == "active"


def test_a_page_under_a_name_that_was_led_here_reads_nothing(interfaces: Interfaces, page: Page) -> None:
    for address in (interfaces.dagster, interfaces.mlflow):
        answer = page.goto(f"http://{REBOUND}:{address.rpartition(':')[2]}/")
        assert answer is not None
        assert answer.status == 403
        assert "add yours to WEATHER_UI_HOSTS" in page.inner_text("body")


def test_no_page_can_put_the_interfaces_into_a_frame(interfaces: Interfaces, page: Page) -> None:
    frames = "".join(
        f'<iframe src="http://{address}/"></iframe>' for address in (interfaces.dagster, interfaces.mlflow)
    )
    answers: list[int] = []
    with elsewhere("127.0.0.1", frames) as url:
        page.on("response", lambda answer: answers.append(answer.status) if not answer.url.startswith(url) else None)
        page.goto(url)
    assert answers == [403, 403]


def test_the_launchpad_launches_a_run_and_its_log_comes_by_websocket(interfaces: Interfaces, page: Page) -> None:
    refused: list[str] = []
    frames: list[str] = []
    page.on("response", lambda answer: refused.append(answer.url) if answer.status == 403 else None)
    page.on("websocket", lambda opened: opened.on("framereceived", lambda frame: frames.append(str(frame))))
    page.goto(f"http://{interfaces.dagster}/locations/weather_platform/jobs/rollback/playground")
    editor = page.locator(".CodeMirror").first
    editor.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(json.dumps(rollback_config(TAKEN)))
    page.get_by_role("button", name="Launch run").click()
    page.wait_for_url("**/runs/**")
    page.get_by_text("RUN_SUCCESS").first.wait_for()
    assert any("pipelineRunLogs" in frame for frame in frames)
    assert refused == []
    assert interfaces.home.registry.alias(TAKEN, PRODUCTION) is None


def test_the_link_to_mlflow_opens_the_experiment(interfaces: Interfaces, page: Page) -> None:
    [link] = re.findall(r"MLflow +(\S+)", "".join(interfaces.said))
    page.goto(link)
    page.get_by_text("matching runs").wait_for()
    assert "weather_platform" in page.inner_text("body")


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://{host}", "Sec-Fetch-Site": "same-origin"}])
def test_the_page_itself_and_programs_ask_both_interfaces(interfaces: Interfaces, headers: dict[str, str]) -> None:
    for address, path, asked in (
        (interfaces.dagster, "/graphql", {"query": "{ version }"}),
        (interfaces.mlflow, "/ajax-api/2.0/mlflow/experiments/search", {"max_results": 5}),
    ):
        own = {name: value.format(host=address) for name, value in headers.items()}
        assert httpx.post(f"http://{address}{path}", json=asked, headers=own, timeout=60).status_code == 200


def test_a_websocket_opens_for_the_page_itself_and_for_no_other(interfaces: Interfaces) -> None:
    def acknowledged(origin: str | None) -> str:
        with connect(
            f"ws://{interfaces.dagster}/graphql", origin=Origin(origin) if origin else None,
            subprotocols=[Subprotocol("graphql-ws")],
        ) as opened:  # fmt: skip
            opened.send(json.dumps({"type": "connection_init"}))
            return str(json.loads(opened.recv())["type"])

    assert acknowledged(None) == acknowledged(f"http://{interfaces.dagster}") == "connection_ack"
    for foreign in ("http://evil.example", f"http://{interfaces.mlflow}", "null"):
        with pytest.raises(InvalidStatus) as refused:
            acknowledged(foreign)
        assert refused.value.response.status_code == 403


def test_runs_of_the_command_are_shown_with_their_job_and_the_command(interfaces: Interfaces, page: Page) -> None:
    """Jobs lists runs by job of the code location, Overview by the origin of each run."""
    query = """query($selector: PipelineSelector!) { pipelineOrError(params: $selector) { ... on Pipeline { runs {
      status repositoryOrigin { repositoryName repositoryLocationName } tags { key value } } } } }"""
    for job in ("ingest", "process", "learn", "forecast"):
        selector = {
            "repositoryLocationName": "weather_platform", "repositoryName": "__repository__", "pipelineName": job,
        }  # fmt: skip
        answer = httpx.post(
            f"http://{interfaces.dagster}/graphql",
            json={"query": query, "variables": {"selector": selector}}, timeout=60,
        )  # fmt: skip
        [run] = answer.raise_for_status().json()["data"]["pipelineOrError"]["runs"]
        assert run["status"] == "SUCCESS"
        assert run["repositoryOrigin"] == {
            "repositoryName": "__repository__", "repositoryLocationName": "weather_platform",
        }  # fmt: skip
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        assert tags["command"].startswith("weather run --source synthetic")
    page.goto(f"http://{interfaces.dagster}/locations/weather_platform/jobs/learn/runs")
    page.get_by_text("command: weather run").first.wait_for()


def test_only_the_guard_listens(interfaces: Interfaces) -> None:
    """A browser reaches every port of its machine, so a server that listens beside the guard would have none."""
    parent = psutil.Process(interfaces.process.pid)
    ports = {
        connection.laddr.port
        for process in (parent, *parent.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert ports == {int(address.rpartition(":")[2]) for address in (interfaces.dagster, interfaces.mlflow)}


def test_nothing_runs_by_itself_unless_asked(interfaces: Interfaces) -> None:
    assert set(interfaces.sensors().values()) == {"STOPPED"}


def test_the_option_switches_every_sensor_on_and_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = copied(shared_home(tmp_path_factory), tmp_path_factory.mktemp("automation") / "home")
    with running(home, "--automation") as found:
        assert any("automation is on" in line for line in found.said)
        assert set(found.sensors().values()) == {"RUNNING"}
