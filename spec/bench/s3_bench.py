#!/usr/bin/env python3
"""Benches of the S3 binding: moves, a listing, and bodies, beside a program on bare libcurl (the floor), boto3 and rclone.

    s3_bench.py --binary PATH --floor PATH --measure PATH [--peers DIR] [--moves N] [--keys N] [--bytes N] [--repeat N]

Needs SMARTMIGRATION_TEST_MONGO_URI (the engine's ledger), SMARTMIGRATION_TEST_S3_ENDPOINT and its credentials. The floor sends the
requests that the engine sends. After each run a client of its own (spec/support/s3_admin.py) compares what there is with what must
be: keys, sizes and ETags. Programs are interleaved; a row is the median of N runs, a ratio the median of the ratios to the floor's
run beside it. Wall time, CPU time and peak memory are those of the whole process, as the kernel counts them (measure.c). The server's
CPU time stands beside them: on a machine that others use too it tells more than the wall time.
"""
import argparse
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "spec/support"))
import s3_admin  # noqa: E402

MONGO, ENDPOINT = (os.environ.get(f"SMARTMIGRATION_TEST_{name}") for name in ("MONGO_URI", "S3_ENDPOINT"))
PART, MIB, MEMORY_LIMIT_MIB = 8 << 20, 1 << 20, 32
ENGINE, REPLACING, FLOOR, BOTO3, RCLONE = "smartmigration-lua", "the same, overwrite = true", "raw libcurl", "boto3", "rclone"


def body_of(number):
    """What the floor plants."""
    return f"{number:0{100 + number % 900}d}\n".encode()


def planted(prefix, count):
    """{key: (size, ETag)}"""
    bodies = ((number, body_of(number)) for number in range(count))
    return {f"{prefix}{number // 1000:04}/{number:06}": (len(body), hashlib.md5(body).hexdigest()) for number, body in bodies}


def digest(path, algorithm):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def etag_of_parts(path):
    digests = []
    with open(path, "rb") as file:
        while part := file.read(PART):
            digests.append(hashlib.md5(part).digest())
    return f"{hashlib.md5(b''.join(digests)).hexdigest()}-{len(digests)}"


class S3Bench:
    def __init__(self, args, work):
        self.args, self.work = args, Path(work)
        self.bucket, self.ledger = f"smartmigration-bench-{os.getpid()}", f"smartmigration_bench_{os.getpid()}"
        self.client = s3_admin.from_environment()

    # The programs: each in a process of its own; (wall s, CPU s, the server's CPU s, peak MiB).

    @staticmethod
    def server_cpu():
        """What a throw-away server has used up so far, in s; 0 of another one."""
        process = os.environ.get("SMARTMIGRATION_TEST_S3_PID")
        if not process:
            return 0
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def measured(self, command, env=None):
        figures, before = self.work / "figures", self.server_cpu()
        done = subprocess.run([self.args.measure, figures, *map(str, command)], env=env, cwd=self.work, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
        wall, cpu, peak_kib = map(float, figures.read_text().split())
        return wall, cpu, self.server_cpu() - before, peak_kib / 1024

    def floor(self, mode, first, second):
        return self.measured([self.args.floor, mode, self.bucket, first, second])

    def drop_ledger(self):
        subprocess.run([ROOT / ".cache/tools/mongo-json", "command", self.ledger], input='{"dropDatabase": 1}\n', text=True,
                       stdout=subprocess.DEVNULL, check=True)

    def engine(self, mode, first, second, overwrite=""):
        self.drop_ledger()
        env = dict(os.environ, SMARTMIGRATION_MONGO_URI=MONGO, SMARTMIGRATION_MONGO_DB=self.ledger,
                   SMARTMIGRATION_S3_ENDPOINT=ENDPOINT, SMARTMIGRATION_S3_BUCKET=self.bucket, BENCH_MODE=mode,
                   BENCH_FIRST=str(first), BENCH_SECOND=str(second), BENCH_OVERWRITE=overwrite)
        return self.measured([self.args.binary, "run", "--quiet", "-d", HERE / "s3_loop"], env)

    def replacing_engine(self, mode, first, second):
        return self.engine(mode, first, second, "yes")

    def boto3(self, mode, first, second):
        env = dict(os.environ, PYTHONPATH=str(self.args.peers / "python"))
        return self.measured([sys.executable, HERE / "s3_peer.py", mode, self.bucket, first, second], env)

    def rclone(self, mode, first, second):
        env = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}  # rclone cannot have one
        for name, value in {"TYPE": "s3", "PROVIDER": "Other", "ENV_AUTH": "true", "ENDPOINT": ENDPOINT,
                            "REGION": os.environ["AWS_REGION"]}.items():
            env[f"RCLONE_CONFIG_BENCH_{name}"] = value
        return self.measured(["rclone", mode, "--config", "/dev/null", "--transfers", 16, "--checkers", 16,
                              f"bench:{self.bucket}/{first}", f"bench:{self.bucket}/{second}"], env)

    # What is told.

    def expect(self, what, found, wanted):
        if found != wanted:
            sys.exit(f"s3_bench.py: {what}: not what it should be")

    def table(self, title, runs, unit):
        """runs: name -> list of (wall, CPU, server's CPU, peak), the floor's among them; unit: (its name, how many)."""
        name_of_unit, count = unit
        median, floor = statistics.median, runs[FLOOR]
        print(f"\n{title} (median of {len(floor)})")
        for name, measured in runs.items():
            wall, cpu, server, peak = (median(values) for values in zip(*measured))
            ratios = [median(mine[i] / raw[i] for mine, raw in zip(measured, floor)) for i in (0, 1)]
            print(f"  {name:<28} wall {wall:7.2f} s {ratios[0]:5.2f} x   {wall / count * 1e6:8.1f} us a {name_of_unit}   "
                  f"CPU {cpu:6.2f} s {ratios[1]:5.2f} x, the server's {server:6.2f} s   peak {peak:6.1f} MiB", flush=True)

    def bar(self, what, value, limit, at_least=False):
        met = value >= limit if at_least else value <= limit
        print(f"  {what}: {value:.2f} (bar: {'at least' if at_least else 'at most'} {limit}){'' if met else '  NOT MET'}")

    @staticmethod
    def ratio(runs, name, other):
        """The wall time of `name` as a multiple of that of `other`."""
        return statistics.median(mine[0] / theirs[0] for mine, theirs in zip(runs[name], runs[other]))

    # The benches.

    def contents(self, prefix):
        return {entry["key"]: (entry["size"], entry["etag"]) for entry in self.client.list(self.bucket, prefix)}

    def moves(self):
        """Every program moves what the one before has moved, back and forth."""
        programs = {FLOOR: self.floor, ENGINE: self.engine}
        if self.args.peers:
            programs |= {RCLONE: self.rclone, REPLACING: self.replacing_engine, BOTO3: self.boto3}
        here, there, runs = "here/", "over/", {name: [] for name in programs}
        self.floor("plant", here, self.args.moves)
        for _ in range(self.args.repeat):
            for name, program in programs.items():
                runs[name].append(program("move", here, there))
                here, there = there, here
                self.expect(f"what {name} moved", self.contents(here), planted(here, self.args.moves))
                self.expect(f"what {name} left behind", self.contents(there), {})
        self.table(f"(i) move {self.args.moves} small objects, 16 at a time", runs, ("move", self.args.moves))
        self.bar("wall time, as a multiple of raw libcurl's", self.ratio(runs, ENGINE, FLOOR), 1.15)
        if self.args.peers:
            self.bar("rclone's, as a multiple of ours", self.ratio(runs, RCLONE, ENGINE), 1, at_least=True)
            self.bar("rclone's, as a multiple of ours with overwrite = true, as it does it", self.ratio(runs, RCLONE, REPLACING),
                     1, at_least=True)
            self.bar("boto3's, as a multiple of ours", self.ratio(runs, BOTO3, ENGINE), 1, at_least=True)

    def listing(self):
        programs = {FLOOR: self.floor, ENGINE: self.engine}
        if self.args.peers:
            programs[BOTO3] = self.boto3
        few, runs, rows = self.args.keys // 10, {name: [] for name in programs}, self.work / "rows"
        self.floor("plant", "many/", self.args.keys)
        self.floor("plant", "few/", few)
        wanted = [f"{key} {size} {etag}\n" for key, (size, etag) in sorted(planted("many/", self.args.keys).items())]
        for _ in range(self.args.repeat):
            for name, program in programs.items():
                runs[name].append(program("list", "many/", rows))
                self.expect(f"what {name} listed", rows.read_text().splitlines(keepends=True), wanted)
        self.table(f"(j) list {self.args.keys} keys into a file", runs, ("key", self.args.keys))
        if self.args.peers:
            self.bar("boto3's wall time, as a multiple of ours", self.ratio(runs, BOTO3, ENGINE), 2, at_least=True)
        less = statistics.median(self.engine("list", "few/", rows)[-1] for _ in range(self.args.repeat))
        more = statistics.median(measured[-1] for measured in runs[ENGINE])
        self.bar(f"peak memory, as a multiple of that for {few} keys, {less:.1f} MiB", more / less, 1.1)

    def bodies(self):
        file, target = self.work / "body", self.work / "target"
        source = random.Random(20260414)
        with open(file, "wb") as out:
            for _ in range(self.args.bytes // MIB):
                out.write(source.randbytes(MIB))
        wanted = (str(self.args.bytes), f'"{etag_of_parts(file)}"')
        whole, mib = digest(file, "sha256"), self.args.bytes // MIB
        puts, gets = ({FLOOR: [], ENGINE: []} for _ in range(2))
        for _ in range(self.args.repeat):
            for name, program in {FLOOR: self.floor, ENGINE: self.engine}.items():
                os.sync()
                puts[name].append(program("put", "body", file))
                found = self.client.object("HEAD", self.bucket, "body").headers
                self.expect(f"what {name} put", (found["content-length"], found["etag"]), wanted)
                os.sync()
                gets[name].append(program("get", "body", target))
                self.expect(f"what {name} got", digest(target, "sha256"), whole)
                target.unlink()
                self.client.object("DELETE", self.bucket, "body")
        for title, runs in (("(k) put a file of", puts), ("(l) get a file of", gets)):
            self.table(f"{title} {mib} MiB", runs, ("MiB", mib))
            self.bar("speed, as a multiple of raw libcurl's", self.ratio(runs, FLOOR, ENGINE), 0.9, at_least=True)
            self.bar("peak memory, MiB", max(measured[-1] for measured in runs[ENGINE]), MEMORY_LIMIT_MIB)

    def run(self):
        self.client.request("PUT", f"/{self.bucket}")
        try:
            self.moves()
            self.listing()
            self.bodies()
        finally:
            self.engine("clean", "", "")
            self.drop_ledger()
            self.client.delete_bucket(self.bucket)


def main():
    parser = argparse.ArgumentParser()
    for name in ("binary", "floor", "measure"):
        parser.add_argument(f"--{name}", type=lambda path: Path(path).resolve(), required=True)
    parser.add_argument("--peers", type=lambda path: Path(path).resolve())
    parser.add_argument("--moves", type=int, default=5000)
    parser.add_argument("--keys", type=int, default=100000)
    parser.add_argument("--bytes", type=int, default=1 << 30)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    if not MONGO or not ENDPOINT:
        sys.exit("s3_bench.py: SMARTMIGRATION_TEST_MONGO_URI or SMARTMIGRATION_TEST_S3_ENDPOINT is not set; `make bench` sets them")
    work = tempfile.mkdtemp(prefix="smartmigration-bench-")
    try:
        S3Bench(args, work).run()
    finally:
        shutil.rmtree(work)


main()
