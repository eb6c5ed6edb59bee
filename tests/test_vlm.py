"""A vision-language server on this machine that fails in every known way; no file or screen shows the key."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace

import pandas as pd
import pytest

from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.core.files import BadInput, read_json
from galaxy_sommelier.core.runs import run_experiment
from galaxy_sommelier.data.store import Store, simulated_store
from galaxy_sommelier.studies.vlm_budget import KEY, Books, CapReached, RequestPace, Terms, spent
from galaxy_sommelier.studies.vlm_client import ask_model, request_text
from galaxy_sommelier.studies.vlm_compare import kinds_table, read_all, sample, vlm_figure
from galaxy_sommelier.studies.vlm_prompts import (
    FOUR_CLASSES,
    NOBODY,
    ReplyHandler,
    StandIn,
    chat_reply,
    random_walk,
    serving,
)

SECRET = "sk-test-4f1c9a77d0e2b85613-for-nobody-else"
QUICK = Terms(model="teacher", per_minute=1e6, threads=2, retries=2)


class MoodyReply(ReplyHandler):
    """Notes the key of a request, then follows the script."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(self.headers["Authorization"])
        image = asked["messages"][0]["content"][1]["image_url"]["url"]
        with self.server.lock:
            self.server.asked[image] += 1
            mood = self.server.script.pop(0) if self.server.script else self.server.mood
        if mood is not None:
            mood(self, asked)
        else:
            self.server.answered[image] += 1
            self.send(200, self.server.reply(asked))


class Moody(StandIn):
    """A stand-in with a script for the first requests, one after the other, and `mood` for all others."""

    def __init__(self, *script, mood=None):
        super().__init__([FOUR_CLASSES, GZ2], MoodyReply)
        self.script, self.mood, self.lock, self.seen = list(script), mood, threading.Lock(), []
        self.asked, self.answered, self.open = Counter(), Counter(), threading.Event()

    def handle_error(self, request, client_address):  # the client closed the connection, or was killed
        pass


def status(code, message="no", **headers):
    return lambda reply, asked: reply.send(code, {"error": {"message": message, "code": None}}, **headers)


def says(text, **more):
    return lambda reply, asked: reply.send(200, chat_reply(text, asked, **more))


def hangs(reply, asked):
    reply.server.open.wait(60)


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    return Store(simulated_store(tmp_path_factory.mktemp("vlm") / "sky", n=120, size=32))


@pytest.fixture(autouse=True)
def key_watch(monkeypatch, tmp_path, capfd, caplog):
    """A key is in the environment. After the test it is in no file, on no screen and in no log."""
    monkeypatch.setenv(KEY, SECRET)
    caplog.set_level(logging.DEBUG)
    yield
    output = capfd.readouterr()
    assert SECRET not in output.out + output.err + caplog.text
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()
    ]


@pytest.fixture
def slept(monkeypatch):
    """Replace sleeping by a list of the waits."""
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


@pytest.fixture
def start():
    with ExitStack() as stack:

        def begin(*script, **kwargs):
            server = stack.enter_context(serving(Moody(*script, **kwargs)))
            stack.callback(server.open.set)
            return server

        yield begin


def put_to(server, sky, folder, n=8, tree=FOUR_CLASSES, **terms):
    """Send the first n galaxies; return the replies and the books."""
    there = replace(QUICK, **{"base_url": server if isinstance(server, str) else server.url} | terms)
    books = Books(folder / "run" / "requests.jsonl", there)
    return ask_model(tree, sky, sky.ids[:n], there, books, folder / "answers"), books


def refusal(server, sky, folder, **terms):
    """Return the one line with which a run ends."""
    with pytest.raises(BadInput) as error:
        put_to(server, sky, folder, **terms)
    line = str(error.value)
    assert "\n" not in line and SECRET not in line
    return line


def test_nonsense_is_counted_by_kind_and_paid_for_once(sky, tmp_path, start):
    smooth = {"smooth-or-featured": "smooth", "something-odd": "no", "how-rounded": "round"}
    lone_bar = dict.fromkeys(GZ2.question_names) | smooth | {"bar": "yes"}
    egg = random_walk(GZ2, "egg") | {"smooth-or-featured": "egg"}
    script = [
        says("It is not a spiral."),
        says("[1, 2]"),
        says(None, refusal="I'd rather not."),
        says(None, finish="content_filter"),
        says('{"smooth-or-', finish="length"),
        says('{"class": "spiral"}'),
        says(json.dumps(egg)),
        says(json.dumps(lone_bar)),
    ]
    server = start(*script)
    records, books = put_to(server, sky, tmp_path, n=12, tree=GZ2)
    kinds = kinds_table({"gz2": read_all(GZ2, records)}).set_index("kind").gz2
    assert kinds.to_dict() == {
        "answered": 4,
        "refused": 2,
        "truncated": 1,
        "invalid JSON": 2,
        "wrong form": 1,
        "not in the list": 1,
        "off the tree": 1,
        "lost": 0,
    }
    again, _ = put_to(server, sky, tmp_path, n=12, tree=GZ2)
    assert again == records and set(server.asked.values()) == {1} and spent(books)["answers"] == 12


def test_a_filter_of_the_server_is_a_refusal(sky, tmp_path, start):
    def filtered(reply, asked):
        reply.send(400, {"error": {"message": "filtered", "code": "content_filter"}})

    records, books = put_to(start(filtered), sky, tmp_path, n=3)
    assert sorted(read_all(FOUR_CLASSES, records).kind) == ["answered", "answered", "refused"]
    assert books.total["turned_away"] == 1


def test_each_request_carries_image_question_form_and_key(sky, tmp_path, start):
    bodies = []
    server = start(
        mood=lambda reply, asked: (bodies.append(asked), reply.send(200, reply.server.reply(asked)))
    )
    put_to(server, sky, tmp_path, n=2, more={"temperature": 0})
    assert set(server.seen) == {f"Bearer {SECRET}"}
    assert {body["model"] for body in bodies} == {"teacher"} and {body["temperature"] for body in bodies} == {
        0
    }
    assert (
        bodies[0]["response_format"]["json_schema"]["strict"]
        and bodies[0]["max_completion_tokens"] == QUICK.max_tokens
    )


def test_too_many_requests_waits_as_long_as_the_server_says(sky, tmp_path, start, slept):
    records, books = put_to(start(status(429, Retry_After="7")), sky, tmp_path, threads=1)
    assert [round(wait) for wait in slept if wait > 0.01] == [7] and (
        read_all(FOUR_CLASSES, records).kind == "answered"
    ).all()
    assert (
        spent(books)["turned_away"] == 1 and spent(books)["requests"] == 9 and spent(books)["unsettled"] == 0
    )


def test_server_errors_are_retried_at_growing_intervals(sky, tmp_path, start, slept):
    records, _ = put_to(start(status(500), status(503)), sky, tmp_path, threads=1)
    first, second = (wait for wait in slept if wait > 0.01)
    # half a second, then a whole one, each less up to a quarter at random
    assert 0.375 <= first <= 0.5 and 0.75 <= second <= 1.0
    assert (read_all(FOUR_CLASSES, records).kind == "answered").all()


def test_requests_that_stay_too_many_end_the_run(sky, tmp_path, start, slept):
    server = start(None, None, None, mood=status(429))
    assert "429" in (line := refusal(server, sky, tmp_path, threads=1)) and "per_minute" in line
    assert len(list(tmp_path.rglob("*.json"))) == 3


def test_what_timed_out_is_lost_for_now_and_may_have_been_billed(sky, tmp_path, start, slept):
    prices = {"price_in": 1.0, "price_out": 1.0, "max_money": 1.0}
    server = start(hangs, hangs)
    records, books = put_to(
        server, sky, tmp_path, n=3, threads=1, timeout=0.3, retries=1, max_lost=0.5, **prices
    )
    assert sorted(read_all(FOUR_CLASSES, records).kind) == ["answered", "answered", "lost"]
    worst = books.terms.money(*books.worst(""))
    assert spent(books)["unsettled"] == 2 and spent(books)["money"] > 2 * worst
    records, _ = put_to(server, sky, tmp_path, n=3, threads=1)
    assert (read_all(FOUR_CLASSES, records).kind == "answered").all() and sum(server.answered.values()) == 3


def test_too_much_lost_ends_the_run(sky, tmp_path, start, slept):
    assert "max_lost" in refusal(start(mood=status(500)), sky, tmp_path)


def test_a_reply_that_is_cut_off_is_lost(sky, tmp_path, start):
    records, books = put_to(
        start(lambda reply, asked: reply.send(200, '{"choices": [')), sky, tmp_path, n=3, max_lost=0.5
    )
    assert (
        sorted(read_all(FOUR_CLASSES, records).kind) == ["answered", "answered", "lost"]
        and spent(books)["unsettled"] == 1
    )


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_neither_key_nor_image_follows_a_redirect(code, sky, tmp_path, start):
    other = start()
    server = start(mood=status(code, Location=f"{other.url}/chat/completions"))
    line = refusal(server, sky, tmp_path)
    assert "127.0.0.1" in line and str(code) in line and server.seen and other.seen == []


def test_a_server_that_repeats_the_key_is_not_repeated(sky, tmp_path, start):
    line = refusal(start(mood=status(400, f"bad request by {SECRET}")), sky, tmp_path)
    assert "bad request by [key]" in line
    records, _ = put_to(start(says(f"Your key is {SECRET}.")), sky, tmp_path, n=1)
    assert records[0]["text"] == "Your key is [key]."


def test_bad_input_is_one_line(sky, tmp_path, start, slept, monkeypatch):
    assert "cannot be reached" in refusal("http://nowhere.invalid/v1", sky, tmp_path / "a")
    assert KEY in refusal(start(mood=status(401, f"Incorrect API key: {SECRET}")), sky, tmp_path / "b")
    assert "'teacher'" in refusal(start(mood=status(404)), sky, tmp_path / "c")
    with pytest.raises(BadInput, match="of class .* need 50"):
        sample(sky, n=50)
    server = start()
    monkeypatch.setitem(sys.modules, "openai", None)
    assert "galaxy-sommelier[vlm]" in refusal(server, sky, tmp_path / "d")
    monkeypatch.undo()
    monkeypatch.delenv(KEY, raising=False)
    assert "is not set" in refusal(server, sky, tmp_path / "e") and server.seen == []


def test_a_limit_of_requests_stops_and_the_next_start_pays_for_nothing_twice(sky, tmp_path, start):
    server = start()
    with pytest.raises(CapReached, match="max_requests=5 is reached after 5 requests"):
        put_to(server, sky, tmp_path, n=12, max_requests=5)
    assert len(server.answered) == 5
    with pytest.raises(CapReached):  # the books are in the run folder: a new start keeps the limit
        put_to(server, sky, tmp_path, n=12, max_requests=5)
    records, books = put_to(server, sky, tmp_path, n=12, max_requests=12)
    assert len(records) == 12 and set(server.asked.values()) == {1} and spent(books)["requests"] == 12


def test_a_limit_of_money_holds_with_many_threads(sky, tmp_path, start):
    server = start()
    prices = {"price_in": 2.0, "price_out": 8.0, "max_money": 0.03}
    with pytest.raises(CapReached, match="max_money=0.03"):
        put_to(server, sky, tmp_path, n=100, threads=8, **prices)
    books = Books(tmp_path / "run" / "requests.jsonl", replace(QUICK, **prices))
    assert 0 < spent(books)["money"] <= 0.03 and spent(books)["requests"] == sum(server.asked.values()) < 100
    assert spent(books)["unsettled"] == 0 and spent(books)["answers"] == len(
        list((tmp_path / "answers").rglob("*.json"))
    )


def test_an_image_that_costs_more_than_stated_is_noticed(sky, tmp_path, start):
    def dear(reply, asked):
        answer = reply.server.reply(asked)
        answer["usage"]["prompt_tokens"] = 50_000
        reply.send(200, answer)

    with pytest.raises(CapReached):
        put_to(start(mood=dear), sky, tmp_path, n=20, threads=1, price_in=1.0, price_out=1.0, max_money=0.12)
    books = Books(
        tmp_path / "run" / "requests.jsonl", replace(QUICK, price_in=1.0, price_out=1.0, max_money=0.12)
    )
    assert spent(books)["requests"] == 2 and spent(books)["money"] <= 0.12


def test_an_answer_without_its_number_of_tokens_counts_at_its_highest_cost(sky, tmp_path, start):
    def silent(reply, asked):
        reply.send(200, reply.server.reply(asked) | {"usage": None})

    _, books = put_to(start(silent), sky, tmp_path, n=1, price_in=1.0, price_out=1.0, max_money=1.0)
    worst = books.terms.money(*books.worst(request_text(FOUR_CLASSES)))
    assert spent(books)["answers"] == 1 and spent(books)["money"] == pytest.approx(worst, abs=1e-6)


def test_pace(monkeypatch, slept):
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    pace = RequestPace(per_minute=30)
    assert [pace.wait() for _ in range(4)] == [0, 2, 4, 6] and slept == [2, 4, 6]


PROGRAM = """
import sys
from pathlib import Path
from galaxy_sommelier.data.store import Store
from galaxy_sommelier.studies.vlm_prompts import FOUR_CLASSES
from galaxy_sommelier.studies.vlm_budget import Books, Terms
from galaxy_sommelier.studies.vlm_client import ask_model
store, out = Store(sys.argv[1]), Path(sys.argv[3])
terms = Terms(base_url=sys.argv[2], model="teacher", per_minute=1e6, threads=2)
books = Books(out / "run" / "requests.jsonl", terms)
ask_model(FOUR_CLASSES, store, store.ids[:12], terms, books, out / "answers")
"""


def test_a_killed_run_continues_without_paying_twice(sky, tmp_path, start):
    held, both = [], threading.Event()

    # a thread sends again only when its last answer is on disk; so with two held, all others are
    def holds(reply, asked):
        held.append(asked["messages"][0]["content"][1]["image_url"]["url"])
        if len(held) == 2:
            both.set()
        reply.server.open.wait(120)

    server = start(*[None] * 5, mood=holds)
    command = [sys.executable, "-c", PROGRAM, str(sky.path), server.url, str(tmp_path)]
    process = subprocess.Popen(
        command, env=os.environ | {"OPENAI_LOG": "debug"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert both.wait(120), process.communicate()
    process.send_signal(signal.SIGKILL)
    output = b"".join(process.communicate())
    assert process.returncode == -signal.SIGKILL and SECRET.encode() not in output
    assert len(list((tmp_path / "answers").rglob("*.json"))) == 5
    server.mood = None
    server.open.set()
    records, books = put_to(server, sky, tmp_path, n=12)
    assert (read_all(FOUR_CLASSES, records).kind == "answered").all()
    assert len(server.answered) == 12 and set(server.answered.values()) == {1}
    assert {image for image, count in server.asked.items() if count > 1} == set(held)
    # the two that were under way may have been billed
    assert spent(books)["requests"] == 14 and spent(books)["unsettled"] == 2


TABLES = (
    "comparison.csv", "recalls.csv", "questions.csv", "kinds.csv", "cost.csv",
    "gpt4o_classification_results.csv"
)


def test_the_experiment_against_a_server(sky, tmp_path, start):
    server = start(says("dunno"), status(500))
    values = [
        "dry_run", "false", "store", str(sky.path), "split", "", "n", "3", "base_url", server.url,
        "asked_model", "teacher", "price_in", "3", "price_out", "12", "max_money", "5", "per_minute",
        "100000", "threads", "1", "cache", str(tmp_path / "c")
    ]
    words = [word for pair in zip(values[::2], values[1::2], strict=True) for word in ("-p", *pair)]
    command = [sys.executable, "-c", "from galaxy_sommelier.cli.main import main; main()", "run", "vlm"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "run"), *words],
        capture_output=True,
        text=True,
        env=os.environ | {"OPENAI_LOG": "debug"},
    )
    assert done.returncode == 0 and SECRET not in done.stdout + done.stderr, done.stderr
    results = pd.read_csv(tmp_path / "run" / TABLES[-1], dtype=str)
    assert (
        list(results) == ["ID", "answer", "gpt4o_answer", "TRUE/FALSE"]
        and (results.gpt4o_answer == "unknown").sum() == 1
    )
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert metrics["model_asked"] == "teacher" and not metrics["dry_run"] and metrics["cost"][0]["money"] > 0
    assert (
        metrics["cost"][0]["requests"] == 25 == sum(server.asked.values())
        and metrics["comparison"][1]["n"] == 12
    )
    assert not [name for name in TABLES if NOBODY in (tmp_path / "run" / name).read_text()]


def test_without_a_key_there_is_only_a_rehearsal_marked_on_every_table(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY)
    with pytest.raises(BadInput, match="is not set"):
        run_experiment("vlm", {"dry_run": False}, out=tmp_path / "real", progress=False)
    run = run_experiment("vlm", {"n": 2}, out=tmp_path / "dry", progress=False)
    for name in TABLES:
        table = pd.read_csv(run / name)
        assert len(table) and (table.note == NOBODY).all(), name
    assert read_json(run / "metrics.json")["model_asked"] == NOBODY
    figure = vlm_figure(pd.read_csv(run / "comparison.csv"), pd.read_csv(run / "recalls.csv"))
    assert figure.axes[0].get_title() == NOBODY.upper() and (run / "figures" / "vlm.png").exists()
