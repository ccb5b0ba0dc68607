#!/usr/bin/env python3
"""A proxy before an honest S3 server, which gives the answers that it cannot be made to give. Used by spec/support/s3_proxy.lua
and by C tests.

    s3_proxy.py ENDPOINT        of the honest server, http; its credentials in AWS_*

Says "port P" once it listens on loopback. Reads commands from stdin, one JSON object a line, and ends when stdin ends. Each is
answered with one line `done ID JSON`:

    {"id": N, "do": "add", "rule": {…}}        a rule after those there are; answers with its number
    {"id": N, "do": "remove", "rule": NUMBER}  takes it away; without "rule" all; held requests go on
    {"id": N, "do": "release", "rule": NUMBER} lets go what the rule has held so far
    {"id": N, "do": "log"}                     what was asked since the last "clear", in order: {order, method, path (decoded),
                                               query, headers (names in lower case, without authorization), concurrency (requests
                                               in work when it came, with it), rule (null: none), status (null: no answer),
                                               ended}
    {"id": N, "do": "clear"}

A request is treated by the first rule that matches it and is not used up. What a rule looks at:

    method    a name, or several          path     a regular expression on "/bucket/key", decoded
    query     one on the raw query        header   {name: regular expression}, names in lower case
    skip      so many matching requests go by first        times    it is used up after so many

and what it does:

    answer    {"status", "headers", "body" | "error": CODE}: answered by the proxy; the server never hears of it, unless
    forward   true: it does the work first, and its answer is thrown away
    drop      "before": the connection is cut before the server hears of it; "after": the server has done the work
    hold      "before" or "after" the server's work, until released
    gather    so many requests wait for one another, then all go on; one that waits in vain is refused: 400 NotGathered
    truncate  so many bytes of the answer's body, then the connection is cut
    rate      bytes per second of the answer's body
    headers   {name: value or false}: headers of the answer, set or taken away
    ignore    names of headers the server does not see
    races     milliseconds: a conditional write is judged by the state as read; when no other one on the same key has come for so
              long, all that were judged good are written, whatever was written meanwhile
    clock_s   the server's clock is off by so much: its answers say so, and it refuses requests too far from it

What a rule changes in a request is signed again; all else goes on byte for byte, nothing is held in memory. Standard library
only; a thread for each connection.
"""
import calendar
import email.utils
import json
import os
import re
import select
import socket
import sys
import threading
import time
import urllib.parse

from http_wire import Body, Gone, Head, Stream
from s3_admin import Answer, Client, Signer

CONDITIONS = ("if-match", "if-none-match")
MAX_SKEW_S = 900
GATHER_S = 10


class Cut(Exception):
    """A rule says to end the client's connection here."""


class Request:
    def __init__(self, raw):
        self.raw, self.head = raw, Head(raw)
        self.method, self.target, _ = self.head.first.split(" ", 2)
        path, _, self.query = self.target.partition("?")
        self.path = urllib.parse.unquote(path, errors="surrogateescape")

    def headers(self):
        return {name.lower(): value for name, value in self.head.lines if name.lower() != "authorization"}

    def conditions(self):
        return {name: self.head.get(name) for name in CONDITIONS if self.head.get(name)}


class Rule:
    def __init__(self, number, words):
        known = {"method", "path", "query", "header", "skip", "times", "answer", "forward", "drop", "hold", "gather", "truncate",
                 "rate", "headers", "ignore", "races", "clock_s"}
        if set(words) - known:
            raise ValueError(f"unknown words in a rule: {sorted(set(words) - known)}")
        self.number, self.words = number, words
        self.skip, self.times = words.get("skip", 0), words.get("times")
        methods = words.get("method")
        self.methods = [methods] if isinstance(methods, str) else methods
        self.gate = threading.Event()
        self.barrier = threading.Barrier(words["gather"]) if "gather" in words else None

    def get(self, word):
        return self.words.get(word)

    def gather(self):
        """None when so many have come; else the refusal."""
        try:
            self.barrier.wait(GATHER_S)
            return None
        except threading.BrokenBarrierError:
            return {"status": 400, "error": "NotGathered"}

    def takes(self, request):
        """Whether it is this rule's; counts."""
        if self.times == 0 or (self.methods and request.method not in self.methods):
            return False
        if not re.search(self.words.get("path", ""), request.path) or not re.search(self.words.get("query", ""), request.query):
            return False
        for name, pattern in self.words.get("header", {}).items():
            if not re.search(pattern, request.head.get(name) or ""):
                return False
        if self.words.get("races") and not (request.method in ("PUT", "POST", "DELETE") and request.conditions()):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Race:
    """The conditional writes on one key that are in work: read, judged, and not yet written."""

    def __init__(self):
        self.reading, self.last_came, self.changed = 0, 0, threading.Condition()

    def came(self):
        with self.changed:
            self.reading += 1
            self.last_came = time.monotonic()

    def has_read(self):
        with self.changed:
            self.reading -= 1
            self.changed.notify_all()

    def wait(self, window_s):
        """Until all that came have read, and no other one has come for so long."""
        with self.changed:
            while self.reading > 0 or self.last_came + window_s > time.monotonic():
                self.changed.wait(None if self.reading > 0 else self.last_came + window_s - time.monotonic())


class Proxy:
    def __init__(self, endpoint):
        url = urllib.parse.urlsplit(endpoint)
        self.endpoint, self.server = endpoint, (url.hostname, url.port or 80)
        self.access, self.secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        self.region = os.environ.get("AWS_REGION", "us-east-1")
        self.signer = Signer(self.access, self.secret, self.region)
        self.lock = threading.Lock()  # over all that follows
        self.rules, self.last_rule, self.entries, self.working, self.order, self.races = [], 0, [], 0, 0, {}

    # Commands.

    def add(self, words):
        with self.lock:
            self.last_rule += 1
            self.rules.append(Rule(self.last_rule, words["rule"]))
            return self.last_rule

    def remove(self, words):
        with self.lock:
            gone = [rule for rule in self.rules if words.get("rule") in (None, rule.number)]
            self.rules = [rule for rule in self.rules if rule not in gone]
        for rule in gone:
            rule.gate.set()

    def release(self, words):
        with self.lock:
            for rule in self.rules:
                if rule.number == words["rule"]:
                    rule.gate.set()
                    rule.gate = threading.Event()

    def log(self, _words):
        with self.lock:
            return [dict(entry) for entry in self.entries]

    def clear(self, _words):
        with self.lock:
            self.entries = []

    def obey(self):
        commands = {"add": self.add, "remove": self.remove, "release": self.release, "log": self.log, "clear": self.clear}
        for line in sys.stdin.buffer:
            words = json.loads(os.fsdecode(line))
            result = commands[words["do"]](words)
            text = json.dumps(result, ensure_ascii=False)
            sys.stdout.buffer.write(b"done %d " % words["id"] + os.fsencode(text) + b"\n")
            sys.stdout.buffer.flush()

    # Requests.

    def begin(self, request):
        with self.lock:
            rule = next((rule for rule in self.rules if rule.takes(request)), None)
            self.working += 1
            self.order += 1
            entry = {"order": self.order, "method": request.method, "path": request.path, "query": request.query,
                     "headers": request.headers(), "concurrency": self.working, "rule": rule and rule.number, "status": None,
                     "ended": False}
            self.entries.append(entry)
            return rule, entry

    def end(self, entry):
        with self.lock:
            self.working -= 1
            entry["ended"] = True

    def sign(self, request, changes):
        """Changes headers of the request, and signs it anew when it was signed."""
        authorization = request.head.get("authorization") or ""
        for name, value in changes.items():
            request.head.set(name, value)
        signed = re.search("SignedHeaders=([^,]*)", authorization)
        if signed:
            headers = {name: request.head.get(name) for name in signed[1].split(";") if request.head.get(name) is not None}
            request.head.set("Authorization", self.signer.authorization(request.method, request.target, headers))

    def etag(self, target):
        """What the server has there: None for nothing."""
        client = Client(self.endpoint, self.access, self.secret, self.region)
        try:
            return client.request("HEAD", target).headers["etag"]
        except Answer as answer:
            if answer.status != 404:
                raise Gone from answer
            return None
        finally:
            client.connection.close()

    def judge(self, request, window_s):
        """Races: None when the write may go on, without its conditions; else the refusal."""
        with self.lock:
            race = self.races.setdefault(request.path, Race())
        race.came()
        try:
            etag = self.etag(request.target.partition("?")[0])
        finally:
            race.has_read()
        asked = request.conditions()
        if "if-none-match" in asked and etag is not None:
            return {"status": 412, "error": "PreconditionFailed"}
        if "if-match" in asked and etag is None:
            return {"status": 404, "error": "NoSuchKey"}
        if "if-match" in asked and asked["if-match"].strip('"') != etag.strip('"'):
            return {"status": 412, "error": "PreconditionFailed"}
        race.wait(window_s)
        self.sign(request, dict.fromkeys(CONDITIONS))
        return None

    def skew(self, request, clock_s):
        """A clock that is off: None when the request may go on, with the true time; else the refusal."""
        date = request.head.get("x-amz-date")
        if date:
            asked = calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
            if abs(asked - (time.time() + clock_s)) > MAX_SKEW_S:
                return {"status": 403, "error": "RequestTimeTooSkewed"}
            self.sign(request, {"x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())})
        return None

    def serve(self, sock):
        client, server = Stream(sock), None
        try:
            while True:
                request = Request(client.until(b"\r\n\r\n"))
                rule, entry = self.begin(request)
                try:
                    server = self.treat(client, server, request, rule, entry)
                finally:
                    self.end(entry)
        except (Gone, Cut):
            pass
        finally:
            for stream in (client, server):
                if stream:
                    stream.close()

    def treat(self, client, server, request, rule, entry):
        """One request; gives the connection to the server for the next one."""
        if not rule:
            return self.forward(client, self.connected(server), request, {}, entry)
        words, refusal, gate = rule.words, None, rule.gate
        if "clock_s" in words:
            refusal = self.skew(request, words["clock_s"])
        if "ignore" in words:
            self.sign(request, dict.fromkeys(words["ignore"]))
        if "races" in words:
            refusal = self.judge(request, words["races"] / 1000)
        if words.get("drop") == "before":
            raise Cut
        if "gather" in words:
            refusal = rule.gather()
        if words.get("hold") == "before":
            gate.wait()
        request.raw = bytes(request.head)
        if refusal or ("answer" in words and not words.get("forward")):
            self.invent(client, request, refusal or words["answer"], words, entry)
            return server
        return self.forward(client, self.connected(server), request, {**words, "gate": gate}, entry)

    def connected(self, server):
        if server and not server.ahead and not select.select([server], [], [], 0)[0]:
            return server
        if server:
            server.close()
        try:
            return Stream(socket.create_connection(self.server))
        except OSError:
            raise Gone from None

    def invent(self, client, request, answer, words, entry):
        """The proxy's own answer. The request's body is read to its end first, asked for where the client waits."""
        if request.head.get("expect"):
            client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        for _ in Body(request.head, client):
            pass
        self.own_answer(client, request, answer, words, entry)

    def own_answer(self, client, request, answer, words, entry):
        body = answer.get("body", "")
        if "error" in answer:
            body = ('<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>%s</Code><Message>as the test says</Message>'
                    "<RequestId>PROXY</RequestId></Error>" % answer["error"])
        body = os.fsencode(body)
        head = Head(b"HTTP/1.1 %d Told\r\n\r\n" % answer["status"])
        for name, value in {"Date": email.utils.formatdate(usegmt=True), "Content-Type": "application/xml",
                            "Content-Length": str(len(body)), **answer.get("headers", {})}.items():
            head.set(name, value)
        parts = [] if request.method == "HEAD" else [body]
        self.deliver(client, request, head, parts, words, entry)

    def forward(self, client, server, request, words, entry):
        server.send(request.raw)
        head, unread = self.ask(client, server, Body(request.head, client))
        status = int(head.first.split(" ")[1])
        bodiless = request.method == "HEAD" or status in (204, 304)
        parts = () if bodiless else Body(head, server)
        if words.get("drop") == "after" or "answer" in words:
            for _ in parts:
                pass
        if words.get("hold") == "after":
            words["gate"].wait()
        if words.get("drop") == "after":
            raise Cut
        if "answer" in words:
            self.own_answer(client, request, words["answer"], words, entry)
        else:
            self.deliver(client, request, head, parts, words, entry)
        if unread:
            client.linger()
        if unread or head.closes():
            raise Cut
        return server

    @staticmethod
    def ask(client, server, body):
        """Sends the body on until the server answers; the answer's head, and whether it did not want the rest."""
        parts = iter(body)
        while True:
            waiting = [server] if body.complete else [server, client]
            if not server.ahead and server not in select.select(waiting, [], [], 0 if client.ahead else None)[0]:
                part = next(parts)
                try:
                    server.send(part)
                    continue
                except Gone:
                    pass  # it has answered, and closed without wanting the rest
            head = Head(server.until(b"\r\n\r\n"))
            if head.first.split(" ")[1] != "100":
                return head, not body.complete
            client.send(bytes(head))

    def deliver(self, client, request, head, parts, words, entry):
        """An answer to the client, changed as the rule says."""
        if words.get("clock_s"):
            moved = email.utils.mktime_tz(email.utils.parsedate_tz(head.get("date"))) + words["clock_s"]
            head.set("Date", email.utils.formatdate(moved, usegmt=True))
        for name, value in words.get("headers", {}).items():
            head.set(name, value)
        entry["status"] = int(head.first.split(" ")[1])
        left, rate, waiting = words.get("truncate"), words.get("rate"), bytes(head)
        for part in parts:
            if left is not None:
                part = part[:left]
                left -= len(part)
            if rate:
                self.drip(client, waiting + part, rate)
            else:
                client.send(waiting + part)
            waiting = b""
            if left == 0:
                raise Cut
        client.send(waiting)
        # What is wrong in length cannot be followed by another answer.
        if left is not None or any(name.lower() == "content-length" for name in words.get("headers", {})):
            raise Cut
        if request.head.closes():
            raise Cut

    @staticmethod
    def drip(client, data, rate):
        step = max(1, rate // 10)
        for start in range(0, len(data), step):
            client.send(data[start:start + step])
            time.sleep(step / rate)

    def run(self):
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        print("port", listener.getsockname()[1], flush=True)
        threading.Thread(target=self.accept, args=[listener], daemon=True).start()
        self.obey()

    def accept(self, listener):
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=self.serve, args=[sock], daemon=True).start()


if __name__ == "__main__":
    Proxy(sys.argv[1]).run()
