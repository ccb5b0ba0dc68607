#!/usr/bin/env python3
"""Benchmarks: the engine against a raw libmongoc program (the floor) and against peers, in one run, as ratios.

    bench.py --binary PATH --floor PATH --peers DIR [--repeat N] [--only a,b,c,d] [--quick]

Needs SMARTMIGRATION_TEST_MONGO_URI. Programs are interleaved; a row is the median of N runs and the median of the ratios to
the floor's run beside it. Times are wall times of whole processes.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

URI = os.environ.get("SMARTMIGRATION_TEST_MONGO_URI")


def run(command, **kwargs):
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)
    took = time.perf_counter() - started
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return took, done.stdout


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.database = f"smartmigration_bench_{os.getpid()}"
        self.env = dict(os.environ, SMARTMIGRATION_MONGO_URI=URI, SMARTMIGRATION_MONGO_DB=self.database)
        self.rows = []

    def floor(self, mode, *rest):
        return run([self.args.floor, mode, URI, self.database, *map(str, rest)])

    def engine(self, folder):
        took, out = run([self.args.binary, "run", "--json", "--quiet", "-d", folder], env=self.env, cwd=self.work)
        return took, json.loads(out)

    def chain(self, count, body):
        """A folder of `count` one-step files, 1.0.0 -> 1.0.<count>."""
        folder = Path(tempfile.mkdtemp(dir=self.work))
        for i in range(1, count + 1):
            (folder / f"{i:05}-step.lua").write_text(
                f'return {{\n  id = "step-{i:05}", from = "1.0.{i - 1}", to = "1.0.{i}",\n'
                f'  up = function(ctx)\n    {body.format(i=i)}\n  end,\n}}\n')
        return folder

    def compare(self, title, contestants, repeat):
        """contestants: [(name, function -> seconds)], the floor first."""
        times = {name: [] for name, _ in contestants}
        for _ in range(repeat):
            for name, contest in contestants:
                times[name].append(contest())
        floor = times[contestants[0][0]]
        print(f"\n{title}  (median of {repeat}, interleaved)")
        for name, _ in contestants:
            ratio = statistics.median(t / f for t, f in zip(times[name], floor))
            print(f"  {name:<34} {statistics.median(times[name]) * 1000:10.1f} ms   {ratio:6.2f} x the floor", flush=True)
        return {name: statistics.median(values) for name, values in times.items()}

    # (a) nothing to do
    def no_op(self):
        repeat = self.args.repeat * 8
        folders = {}
        for count in (1, 500):
            folders[count] = self.chain(count, "ctx.mongo:collection('things'):insert_one {{ n = {i} }}")
        medians = {}
        for count in (1, 500):
            self.floor("plant", 0, f"1.0.{count}")
            contestants = [("raw libmongoc, one read", lambda: self.floor("read")[0]),
                           (f"no-op run, {count} file(s)", lambda c=count: self.engine(folders[c])[0])]
            medians[count] = self.compare(f"(a) no-op run, chain of {count}", contestants, repeat)
            self.floor("drop")
        extra = medians[500]["no-op run, 500 file(s)"] - medians[1]["no-op run, 1 file(s)"]
        print(f"  per further file: {extra / 499 * 1e6:.1f} us")

    # (a) the start alone, beside a program that links the same libraries
    def version(self):
        self.compare("(a) version", [("the same libraries linked", lambda: run([self.args.floor.with_name("version_floor")])[0]),
                                     ("version", lambda: run([self.args.binary, "version"])[0])], self.args.repeat * 20)

    # (b) 1,000 steps with one insert each; (c) peers
    def steps(self):
        count = 100 if self.args.quick else 1000
        folder = self.chain(count, "ctx.mongo:collection('things'):insert_one {{ n = {i} }}")

        def floor():
            self.floor("plant", 0, "1.0.0")
            took = self.floor("steps", count)[0]
            self.floor("drop")
            return took

        def engine():
            took, result = self.engine(folder)
            assert len(result["stepsApplied"]) == count, result
            self.floor("drop")
            return took

        contestants = [("raw libmongoc", floor), ("smartmigration-lua", engine)]
        if "c" in self.args.only:
            contestants += self.peers(count)
        self.compare(f"(b, c) {count} steps with one insert each", contestants, self.args.repeat)

    def peers(self, count):
        peers = Path(self.args.peers)
        golang = Path(tempfile.mkdtemp(dir=self.work))
        node = Path(tempfile.mkdtemp(dir=self.work))
        (node / "migrations").mkdir()
        for i in range(1, count + 1):
            (golang / f"{i}_step.up.json").write_text(json.dumps([{"insert": "things", "documents": [{"n": i}]}]))
            (node / "migrations" / f"{20260101000000 + i}-step.js").write_text(
                f"module.exports = {{ async up(db) {{ await db.collection('things').insertOne({{ n: {i} }}); }},\n"
                "  async down() {} };\n")
        (node / "migrate-mongo-config.js").write_text(
            f"module.exports = {{ mongodb: {{ url: {json.dumps(durable(URI))}, databaseName: {json.dumps(self.database)},"
            " options: {} }, migrationsDir: 'migrations', changelogCollectionName: 'changelog',\n"
            "  lockCollectionName: 'lock', lockTtl: 0, migrationFileExtension: '.js', useFileHash: false,"
            " moduleSystem: 'commonjs' };\n")
        (node / "node_modules").symlink_to(peers / "node_modules")

        def golang_migrate():
            scheme, rest = durable(URI).split("://", 1)
            hosts, query = rest.split("/?", 1)
            took = run([peers / "migrate", "-path", golang, "-database", f"{scheme}://{hosts}/{self.database}?{query}",
                        "up"])[0]
            self.floor("drop")
            return took

        def migrate_mongo():
            took = run([peers / "node_modules/.bin/migrate-mongo", "up"], cwd=node)[0]
            self.floor("drop")
            return took

        return [("golang-migrate", golang_migrate), ("migrate-mongo", migrate_mongo)]

    # (d) cost per step as the ledger grows
    def growth(self):
        count = 50 if self.args.quick else 200
        folder = self.chain(count, "ctx.mongo:collection('things'):insert_one {{ n = {i} }}")
        for entries in (0, 1000, 10000):
            def floor(entries=entries):
                self.floor("plant", entries, "1.0.0")
                took = self.floor("steps", count)[0]
                self.floor("drop")
                return took

            def engine(entries=entries):
                self.floor("plant", entries, "1.0.0")
                took = self.engine(folder)[0]
                self.floor("drop")
                return took

            self.compare(f"(d) {count} steps on a ledger of {entries} entries",
                         [("raw libmongoc, same document", floor), ("smartmigration-lua", engine)], self.args.repeat)


def durable(uri):
    """The same write concern for everybody: majority, journaled."""
    base, _, query = uri.partition("?")
    if not base.endswith("/"):
        base += "/"
    return f"{base}?{query + '&' if query else ''}w=majority&journal=true"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--floor", required=True)
    parser.add_argument("--peers", default="")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", default="a,b,c,d")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    args.binary, args.floor = Path(args.binary).resolve(), Path(args.floor).resolve()
    if args.peers:
        args.peers = Path(args.peers).resolve()
    if not URI:
        sys.exit("bench.py: SMARTMIGRATION_TEST_MONGO_URI is not set; `make bench` sets it")
    work = tempfile.mkdtemp(prefix="smartmigration-bench-")
    try:
        bench = Bench(args, work)
        if "a" in args.only:
            bench.version()
            bench.no_op()
        if "b" in args.only:
            bench.steps()
        if "d" in args.only:
            bench.growth()
    finally:
        shutil.rmtree(work)


main()
