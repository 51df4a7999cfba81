// Gives every request of a Node program the key in $GATEWAY_KEY: the conformance suite has no option for a header.
import diagnostics from "node:diagnostics_channel";
import "node:http";

const key = `Bearer ${process.env.GATEWAY_KEY}`;

diagnostics.subscribe("undici:request:create", ({ request }) => request.addHeader("authorization", key));
diagnostics.subscribe("http.client.request.created", ({ request }) => request.setHeader("authorization", key));
