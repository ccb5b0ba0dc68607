"""What scripts/with-mongod and scripts/with-s3 share: servers that are thrown away, and the command that runs beside them."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOBODY = 65534
START_LIMIT_S = 60
POLL_S = 0.02
PORT_TRIES = 5  # another process may take the free port before the server does


class Failure(Exception):
    """Something that ends the start, in one sentence."""


def wrapper():
    """What goes before a server's own words: it dies with us, and has not root's rights."""
    words = ["setpriv", "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        words += [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return words


def launch(words, log, environment=None):
    """Starts a server. In a session of its own: Ctrl-C is for the command, which may still need the server to clean up."""
    with open(log, "ab") as output:
        return subprocess.Popen([*wrapper(), *words], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                start_new_session=True, env={**os.environ, **(environment or {})})


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, condition):
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            if condition():
                return
            last = ""
        except Failure as failure:
            last = f": {failure}"
        if time.monotonic() > deadline:
            raise Failure(f"{what} did not come within {START_LIMIT_S} s{last}")
        time.sleep(POLL_S)


class Folder:
    """A temporary folder whose parts the servers may use, and which of our programs they may run."""

    def __init__(self, name):
        self.path = Path(tempfile.mkdtemp(prefix=f"smartmigration-{name}-"))
        os.chmod(self.path, 0o755)

    def own(self, *paths):
        """Hands paths to the user the servers run as."""
        if os.geteuid() == 0:
            for path in paths:
                os.chown(path, NOBODY, NOBODY)

    def runnable(self, program):
        """The program, or a copy of it where only root may reach it."""
        if os.geteuid() != 0 or subprocess.run([*wrapper(), "test", "-x", program], check=False).returncode == 0:
            return program
        return shutil.copy(program, self.path)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


def certificate(certificate_path, key_path):
    """Makes a certificate for loopback, its own authority; 0.0.0.0 is this machine for a client, too."""
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1,IP:0.0.0.0", "-keyout", key_path,
             "-out", certificate_path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"openssl made no certificate: {done.stderr.strip().splitlines()[-1]}")


def stop(processes):
    for process in processes:
        process.kill()  # nobody wants the data: no orderly end
    for process in processes:
        process.wait()


def run(words, environment):
    """The command's status; a signal to us is handed on, and it is given time to clean up. A variable of None is taken away."""
    changed = {**os.environ, **environment}
    child = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *words],  # it may hold a server of its own
                             env={name: value for name, value in changed.items() if value is not None})

    def hand_on(number, _frame):
        # Ctrl-C reaches the whole foreground group by itself.
        if number != signal.SIGINT or not sys.stdin.isatty():
            child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, hand_on)
    status = child.wait()
    return status if status >= 0 else 128 - status


def options(arguments):
    """Takes the leading --options off the arguments: {name: value or True}."""
    found = {}
    while arguments and arguments[0].startswith("--"):
        name, equals, value = arguments.pop(0)[2:].partition("=")
        found[name] = value if equals else True
    return found


def start_first(candidates, start, none):
    """The first candidate program that starts: (what start gave, the program). A failed start has cleaned up after itself."""
    reasons = []
    for program in candidates:
        try:
            return start(program), program
        except Failure as failure:
            reasons.append(f"{program}: {failure}")
    raise Failure("; ".join(reasons) or none)


def main(name, body):
    """Runs body(arguments) and ends the process with its status; signals until then end it in order."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    try:
        sys.exit(body(sys.argv[1:]))
    except Failure as failure:
        sys.exit(f"{name}: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
