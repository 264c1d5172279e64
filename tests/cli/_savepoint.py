"""What the command-line tests share: running the program, and its expectations."""
import json
import os
import subprocess
import sys

BINARY = os.environ["SAVEPOINT_BIN"]
MODEL = os.environ["SAVEPOINT_MODEL"]
SOURCE = os.environ["SAVEPOINT_SOURCE_DIR"]
PYTHON = os.environ.get("SAVEPOINT_TEST_PYTHON", sys.executable)


def run(*arguments, status=0, env=None):
    """Runs savepoint; checks its exit status; returns the finished process (text)."""
    done = subprocess.run([BINARY, *arguments], capture_output=True, stdin=subprocess.DEVNULL,
                          env={**os.environ, **(env or {})}, timeout=600)
    done.out, done.err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    assert done.returncode == status, f"{arguments}: exit {done.returncode}, expected {status}\n{done.out}\n{done.err}"
    return done


def run_json(*arguments):
    return json.loads(run(*arguments, "--json").out)


def refused(*arguments, because, status=1, env=None):
    """The command fails, with a message on stderr that names the reason, and prints nothing on stdout."""
    done = run(*arguments, status=status, env=env)
    assert because.lower() in done.err.lower(), f"{arguments}: {because!r} is not in {done.err!r}"
    assert done.out == "", done.out
    return done
