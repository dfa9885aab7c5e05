/** A real `agent-tally serve` on a directory of its own, and a real `agent-tally demo` that fills it. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Where cargo put the binary; `make test` says. */
const BINARY = process.env.AGENT_TALLY ?? "../target/debug/agent-tally";
const DIST = new URL("../dist", import.meta.url).pathname;
const READY_WITHIN_MS = 30_000;

export interface Ledger {
  events: number;
  agents: Record<string, Record<string, LedgerDay>>;
}

export interface LedgerDay {
  events: number;
  by_type: Record<string, number>;
  total_tokens: number;
  response_time_us: number;
  response_times: number;
  feedback_sum: number;
  feedbacks: number;
  unique_users: number;
}

export class Server {
  readonly directory = mkdtempSync(join(tmpdir(), "agent-tally-e2e-"));
  url = "";
  private process: ChildProcess | undefined;
  private address = "127.0.0.1:0";

  constructor(private readonly options: readonly string[] = []) {}

  /** Starts it; the second time on the port that it had. */
  async start(): Promise<void> {
    const args = [
      "serve",
      "--listen",
      this.address,
      "--data-dir",
      join(this.directory, "data"),
      "--dashboard-dir",
      DIST,
      ...this.options,
    ];
    const child = spawn(BINARY, args, { stdio: ["ignore", "pipe", "ignore"] });
    this.process = child;
    this.url = await readyUrl(child);
    this.address = new URL(this.url).host;
  }

  async stop(): Promise<void> {
    const child = this.process;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await ended;
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Posts a made-up past; answers what was acknowledged, when all of it is counted. */
  demo(...options: string[]): Ledger {
    const ledger = join(this.directory, "ledger.json");
    execFileSync(BINARY, ["demo", "--url", this.url, "--ledger", ledger, "--duration", "0s", ...options], { stdio: "ignore" });
    return JSON.parse(readFileSync(ledger, "utf8")) as Ledger;
  }

  /** Makes an API key. */
  key(...scopes: string[]): string {
    const args = ["keys", "create", "--data-dir", join(this.directory, "data"), "--scope", scopes.join(","), "--name", "e2e"];
    const said = execFileSync(BINARY, args, { encoding: "utf8" });
    const key = /\bat_[A-Za-z0-9_-]+/.exec(said)?.[0] ?? said.trim().split(/\s+/).at(-1);
    if (!key) throw new Error(`no key in: ${said}`);
    return key;
  }

  /** Posts events and waits until they are counted. */
  async post(...events: Record<string, unknown>[]): Promise<string> {
    const answer = await this.json<{ receipt: string }>("/api/v1/events", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(events),
    });
    await this.json(`/api/v1/receipts/${answer.receipt}?wait_ms=10000`);
    return answer.receipt;
  }

  async json<T>(path: string, init?: RequestInit): Promise<T> {
    const response = await fetch(this.url + path, init);
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as T;
  }
}

async function readyUrl(child: ChildProcess): Promise<string> {
  if (!child.stdout) throw new Error("no output");
  const lines = createInterface({ input: child.stdout });
  const timeout = AbortSignal.timeout(READY_WITHIN_MS);
  return await new Promise((resolve, reject) => {
    timeout.addEventListener("abort", () => reject(new Error("the server did not say that it is ready")));
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
    lines.on("line", (line) => {
      const url = /ready on (http:\S+)/.exec(line)?.[1];
      if (url) resolve(url);
    });
  });
}
