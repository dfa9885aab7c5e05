/** The built dashboard on an origin of its own, as a plain web server gives it: another address for the API, a strict policy. */
import { readFileSync } from "node:fs";
import { createServer, type Server as HttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";

const DIST = new URL("../dist", import.meta.url).pathname;
const TYPES: Record<string, string> = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".svg": "image/svg+xml",
};

export class PageServer {
  /** Where the API is; known only when it runs, and it must know this origin first. */
  api = "";
  private readonly server: HttpServer;

  constructor() {
    this.server = createServer((request, response) => {
      const path = normalize(new URL(request.url ?? "/", "http://page").pathname);
      // Every view is a URL: what is no file is the page.
      const file = extname(path) in TYPES ? path : "/index.html";
      try {
        const content = readFileSync(join(DIST, file));
        response.setHeader("content-type", TYPES[extname(file)] ?? "application/octet-stream");
        response.setHeader("content-security-policy", this.policy());
        response.end(file === "/index.html" ? this.page(content.toString()) : content);
      } catch {
        response.writeHead(404).end();
      }
    });
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", resolve));
  }

  /** The same port under either name; to a browser these are two sites. */
  url(host: "127.0.0.1" | "localhost" = "127.0.0.1"): string {
    return `http://${host}:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private page(html: string): string {
    const meta = '<meta name="agent-tally-api" content="';
    if (!html.includes(`${meta}"`)) throw new Error("the page does not say where its API is");
    return html.replace(`${meta}"`, `${meta}${this.api}"`);
  }

  private policy(): string {
    const self = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; base-uri 'none'";
    return `${self}; form-action 'self'; frame-ancestors 'none'; connect-src ${this.api}`;
  }
}
