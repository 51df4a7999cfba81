// The TypeScript SDK v1 as a client: node client-v1.mjs URL _ PREFIX; what it saw, as JSON, on standard output.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const [url, , prefix] = process.argv.slice(2);
const client = new Client({ name: "ts-v1", version: "1.0.0" }, { capabilities: { elicitation: {} } });
client.setRequestHandler(ElicitRequestSchema, async () => ({
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
  counted: await client.callTool({ name: `${prefix}test_tool_with_progress`, arguments: {} }, undefined, {
    onprogress: (step) => progress.push(step.progress),
  }),
  read: await client.readResource({ uri: "test://static-text" }),
  progress,
};
await client.close();
process.stdout.write(JSON.stringify(said));
