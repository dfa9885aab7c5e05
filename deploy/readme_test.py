"""Runs README.md's shell examples, as written but for the port, against a server on an empty data directory.

    python3 deploy/readme_test.py target/debug/agent-tally
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = pathlib.Path(sys.argv.pop(1)).resolve()
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def commands():
    """Each command of each block: a line with its continuation lines."""
    for block in BLOCKS:
        command = ""
        for line in block.splitlines():
            command += line + "\n"
            quotes_are_open = command.replace('\\"', "").count('"') % 2 == 1 or command.count("'") % 2 == 1
            if not quotes_are_open and not line.rstrip().endswith(("\\", "|")):
                if command.strip():
                    yield command
                command = ""


class Examples(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="agent-tally-readme-")
        with open(f"{cls.folder.name}/log", "w") as log:
            command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--data-dir", f"{cls.folder.name}/data"]
            cls.server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        line = cls.server.stdout.readline()
        cls.url = re.search(r"http://\S+", line).group(0)

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        cls.server.wait(30)
        cls.server.stdout.close()
        cls.folder.cleanup()

    def run_example(self, command):
        is_stream = "curl -N" in command
        here = command.replace("http://127.0.0.1:8001", self.url).replace("curl ", f"curl -sS --fail-with-body --max-time {2 if is_stream else 15} ", 1)
        done = subprocess.run(["bash", "-o", "pipefail", "-c", here], capture_output=True, text=True)
        # 28: time is up, which is how a stream ends here.
        self.assertIn(done.returncode, {28} if is_stream else {0}, f"{here}\n{done.stdout}{done.stderr}")
        return done.stdout

    def test_every_example_works_and_the_numbers_contain_the_events(self):
        outputs = {command: self.run_example(command) for command in commands()}
        self.assertGreaterEqual(len(outputs), 7)
        by_word = lambda word: next(output for command, output in outputs.items() if word in command)
        self.assertIn('"status":"success"', by_word("support-bot/events"))
        self.assertEqual(json.loads(by_word("x-ndjson"))["accepted"], 2)
        self.assertTrue(json.loads(by_word("/receipts/"))["counted"])
        self.assertIn("event:", by_word("curl -N"))
        # The batch's receipt may be counted a moment after the first one's.
        receipt = json.loads(by_word("x-ndjson"))["receipt"]
        self.run_example(f"curl '{self.url}/api/v1/receipts/{receipt}?wait_ms=5000'")
        metrics = json.loads(self.run_example(f"curl '{self.url}/api/v1/agents/support-bot/metrics?days=7'"))["metrics"]
        self.assertEqual((metrics["total_responses"], metrics["total_messages"], metrics["total_errors"], metrics["unique_users"]), (1, 1, 1, 1))


if __name__ == "__main__":
    unittest.main()
