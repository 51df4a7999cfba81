// The TypeScript SDK v2 as a client: node client-v2.mjs URL ERA PREFIX; what it saw, as JSON, on standard output.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [url, era, prefix] = process.argv.slice(2);
const client = new Client(
  { name: "ts-v2", version: "1.0.0" },
  {
    capabilities: { elicitation: {} },
    versionNegotiation: { mode: era === "legacy" ? "legacy" : { pin: "2026-07-28" } },
  },
);
client.setRequestHandler("elicitation/create", async () => ({
  action: "accept",
  content: { username: "ada", email: "ada@example.org" },
}));
const headers = { authorization: `Bearer ${process.env.GATEWAY_KEY}` };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
const progress = [];
const said = {
  tools: (await client.listTools()).tools.map((tool) => tool.name),
  text: await client.callTool({ name: `${prefix}test_simple_text`, arguments: {} }),
  asked: await client.callTool({ name: `${prefix}test_elicitation`, arguments: { message: "Who?" } }),
  counted: await client.callTool(
    { name: `${prefix}test_tool_with_progress`, arguments: {} },
    { onprogress: (step) => progress.push(step.progress) },
  ),
  read: await client.readResource({ uri: "test://static-text" }),
  progress,
};
await client.close();
process.stdout.write(JSON.stringify(said));
