#!/usr/bin/env python3
"""Benches of the MongoDB binding: loops over many documents, beside raw libmongoc (the floor), PyMongo and the Node driver.

    driver_bench.py --binary PATH --floor PATH --measure PATH [--peers DIR] [--count N]
                    [--repeat N] [--repeat-transform N]

Needs SMARTMIGRATION_TEST_MONGO_URI. All programs run the same loop over the same data: two fields of every document go into a checksum,
which must be the same for all; the server's profiler says what each asked for, which must be the same too. Programs are
interleaved; a row is the median of N runs, a ratio the median of the ratios to the floor's run beside it. Wall time, CPU time and
peak memory are those of the whole process, as the kernel counts them (measure.c).
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
URI = os.environ.get("SMARTMIGRATION_TEST_MONGO_URI")
MEMORY_LIMIT_MIB = 64
ENGINE, FLOOR, SERVER = "smartmigration-lua", "raw libmongoc", "the server itself, by a pipeline"


def same_settings(uri):
    """The engine's concerns for everybody."""
    base, _, query = uri.partition("?")
    if not base.endswith("/"):
        base += "/"
    return f"{base}?{query + '&' if query else ''}w=majority&journal=true&readConcernLevel=majority"


class DriverBench:
    def __init__(self, args, work):
        self.args, self.work, self.uri = args, work, same_settings(URI)
        self.data, self.ledger = f"smartmigration_bench_data_{os.getpid()}", f"smartmigration_bench_{os.getpid()}"
        self.size, self.failures = 0, []
        self.programs = {FLOOR: self.floor, ENGINE: self.engine}
        if args.peers:
            self.programs["pymongo"] = self.pymongo
            self.programs["Node driver"] = self.node

    # The programs: each a loop in a process of its own; (wall s, CPU s, peak MiB, stdout).

    def measured(self, command, env=None):
        figures = Path(self.work) / "figures"
        done = subprocess.run([self.args.measure, figures, *map(str, command)], env=env, cwd=self.work,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
        wall, cpu, peak_kib = map(float, figures.read_text().split())
        return wall, cpu, peak_kib / 1024, done.stdout.strip()

    def floor(self, mode, count=0, tag="", database=None):
        return self.measured([self.args.floor, mode, self.uri, database or self.data, count, tag])

    def engine(self, mode, count, tag=""):
        self.floor("drop", database=self.ledger)
        env = dict(os.environ, SMARTMIGRATION_MONGO_URI=URI, SMARTMIGRATION_MONGO_DB=self.ledger, BENCH_MODE=mode,
                   BENCH_DATABASE=self.data, BENCH_COUNT=str(count), BENCH_TAG=tag)
        return self.measured([self.args.binary, "run", "--quiet", "-d", HERE / "driver_loop"], env)

    def pymongo(self, mode, count, tag=""):
        env = dict(os.environ, PYTHONPATH=str(self.args.peers / "python"))
        return self.measured([sys.executable, HERE / "driver_peer.py", mode, self.uri, self.data, count, tag], env)

    def node(self, mode, count, tag=""):
        env = dict(os.environ, NODE_PATH=str(self.args.peers / "node_modules"))
        return self.measured(["node", HERE / "driver_peer.js", mode, self.uri, self.data, count, tag], env)

    # What the server says.

    def command(self, document):
        done = subprocess.run([ROOT / ".cache/tools/mongo-json", "command", self.data], input=json.dumps(document) + "\n",
                              stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout)

    def asked(self, program, mode, count, tag):
        """Runs the program under the profiler: (what it measured, the find it sent)."""
        namespace = f"{self.data}.items"
        self.command({"profile": 1, "filter": {"op": "getmore", "ns": namespace}})
        measured = program(mode, count, tag)
        self.command({"profile": 0})
        found = self.command({"find": "system.profile", "limit": 1, "sort": {"ts": -1}, "filter": {"ns": namespace}})
        batches = found["cursor"]["firstBatch"]
        if not batches:
            sys.exit(f"driver_bench.py: the profiler saw no second batch; take more documents than {count}")
        self.command({"drop": "system.profile"})
        sent, more = batches[0]["originatingCommand"], batches[0]["command"]
        return measured, {"filter": sent["filter"], "projection": sent.get("projection"), "batchSize": sent["batchSize"],
                          "readConcern": sent.get("readConcern", {}).get("level"), "getMore batchSize": more["batchSize"]}

    def expect_same(self, what, answers):
        """answers: name -> whatever must not differ."""
        if len({json.dumps(answer, sort_keys=True) for answer in answers.values()}) > 1:
            lines = "\n".join(f"  {name}: {json.dumps(answer)}" for name, answer in answers.items())
            sys.exit(f"driver_bench.py: {what} differ:\n{lines}")

    def verify(self, count, tag, name):
        right = int(self.floor("verify", count, tag)[3])
        if right != count:
            sys.exit(f"driver_bench.py: {name} labelled {right} of {count} documents as it should")

    # The benches.

    def loops(self, mode, title, repeat):
        """Runs all programs, interleaved; returns name -> list of (wall, CPU, peak)."""
        count, runs = self.args.count, {name: [] for name in self.programs}
        if mode == "transform":
            runs[SERVER] = []
        for number in range(repeat):
            checksums, commands = {}, {}
            for name, program in self.programs.items():
                tag = f"{name[0]}{number}"
                measured, commands[name] = self.asked(program, mode, count, tag)
                runs[name].append(measured[:3])
                checksums[name] = measured[3]
                if mode == "transform":
                    self.verify(count, tag, name)
            if mode == "transform":
                runs[SERVER].append(self.floor("pipeline", count, f"s{number}")[:3])
                self.verify(count, f"s{number}", SERVER)
            self.expect_same("checksums", checksums)
            self.expect_same("commands in the server's profile", commands)
        print(f"\n{title} (median of {repeat})\n  the server saw from all: {json.dumps(commands[ENGINE])}\n  checksum of all: {checksums[ENGINE]}", flush=True)
        self.table(runs)
        return runs

    def table(self, runs):
        median, floor = statistics.median, runs[FLOOR]
        for name, measured in runs.items():
            wall, cpu, peak = (median(values) for values in zip(*measured))
            ratios = [median(mine[i] / raw[i] for mine, raw in zip(measured, floor)) for i in (0, 1)]
            print(f"  {name:<34} CPU {cpu / self.args.count * 1e6:6.2f} us a document {ratios[1]:6.2f} x   "
                  f"wall {wall:7.2f} s {ratios[0]:5.2f} x   peak {peak:6.1f} MiB", flush=True)

    def bar(self, what, value, limit, at_least=False):
        met = value >= limit if at_least else value <= limit
        print(f"  {what}: {value:.2f} (bar: {'at least' if at_least else 'at most'} {limit}){'' if met else '  NOT MET'}")

    def read(self):
        for mode, title in (("read", "(e) read two fields of each document"),
                            ("project", "(f) the same with a projection of the two")):
            runs = self.loops(mode, title, self.args.repeat)
            if mode == "read":
                self.bars_of_reading(runs)

    def bars_of_reading(self, runs):
        cpu = {name: [measured[1] for measured in values] for name, values in runs.items()}

        def against(name):
            return statistics.median(mine / other for mine, other in zip(cpu[ENGINE], cpu[name]))

        self.bar("CPU, as a multiple of raw libmongoc's", against(FLOOR), 2)
        if "pymongo" in cpu:
            self.bar("pymongo's CPU, as a multiple of ours", 1 / against("pymongo"), 6, at_least=True)

    def transform(self):
        runs = self.loops("transform", "(g) transform each document, unordered bulks of 1,000", self.args.repeat_transform)
        wall = {name: [measured[0] for measured in values] for name, values in runs.items()}
        self.bar("wall time, as a multiple of raw libmongoc's",
                 statistics.median(mine / raw for mine, raw in zip(wall[ENGINE], wall[FLOOR])), 1.1)
        for name in self.programs:
            if name not in (ENGINE, FLOOR):
                self.bar(f"wall time of the {name}, as a multiple of ours",
                         statistics.median(peer / mine for peer, mine in zip(wall[name], wall[ENGINE])), 1, at_least=True)

    def memory(self):
        print(f"\n(h) peak memory of {ENGINE}")
        for mode in ("read", "project", "server_batches", "transform"):
            for count in (self.args.count // 10, self.args.count):
                peak = self.engine(mode, count, "m")[2]
                self.bar(f"{mode}, {count} documents, MiB", peak, MEMORY_LIMIT_MIB)

    def run(self):
        self.size = int(self.floor("plant", self.args.count)[3])
        print(f"{self.args.count} documents of {self.size} bytes")
        self.floor("read", self.args.count)  # the server has read it all once
        try:
            self.read()
            self.transform()
            self.memory()
        finally:
            self.floor("drop")
            self.floor("drop", database=self.ledger)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--floor", required=True)
    parser.add_argument("--measure", required=True)
    parser.add_argument("--peers", default="")
    parser.add_argument("--count", type=int, default=1000000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--repeat-transform", type=int, default=2, help="a run of it takes minutes")
    args = parser.parse_args()
    args.binary, args.floor, args.measure = (Path(path).resolve() for path in (args.binary, args.floor, args.measure))
    args.peers = Path(args.peers).resolve() if args.peers else None
    if not URI:
        sys.exit("driver_bench.py: SMARTMIGRATION_TEST_MONGO_URI is not set; `make bench` sets it")
    work = tempfile.mkdtemp(prefix="smartmigration-bench-")
    try:
        DriverBench(args, work).run()
    finally:
        shutil.rmtree(work)


main()
