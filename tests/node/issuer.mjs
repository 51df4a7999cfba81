// A real authorization server for tests: two tenants' issuers would each be one of these. Its clients, people and
// resources come as JSON in $ISSUER; it says on its first line where it listens.
import { createServer } from "node:http";
import { exportJWK, generateKeyPair } from "jose";
import Provider, { errors, interactionPolicy } from "oidc-provider";

const told = JSON.parse(process.env.ISSUER);
const keys = [];
for (const kid of told.keys) {
  const { privateKey } = await generateKeyPair("ES256", { extractable: true });
  keys.push({ ...(await exportJWK(privateKey)), kid, alg: "ES256", use: "sig" });
}
const url = `http://127.0.0.1:${told.port}`;
const policy = interactionPolicy.base();
policy.remove("consent");

const provider = new Provider(url, {
  clients: told.clients,
  jwks: { keys },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  pkce: { required: () => true },
  rotateRefreshToken: true,
  issueRefreshToken: () => true,
  // Nobody is asked whether they agree.
  loadExistingGrant: async ({ oidc }) => {
    const grant = new oidc.provider.Grant({ accountId: oidc.session.accountId, clientId: oidc.client.clientId });
    grant.addOIDCScope("openid offline_access");
    for (const resource of [oidc.params.resource].flat().filter(Boolean)) grant.addResourceScope(resource, told.scopes.join(" "));
    await grant.save();
    return grant;
  },
  scopes: ["openid", "offline_access", ...told.scopes],
  ttl: { AccessToken: told.lifetime, ClientCredentials: told.lifetime, RefreshToken: 3600, Grant: 3600, Session: 3600, Interaction: 600 },
  enabledJWA: { idTokenSigningAlgValues: ["ES256"] },
  clientDefaults: { id_token_signed_response_alg: "ES256", grant_types: ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"], response_types: [], redirect_uris: [] },
  extraTokenClaims: (ctx, token) => (ctx.exchanged ? { on_behalf_of: ctx.exchanged } : (told.claims[token.accountId ?? token.clientId] ?? {})),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    registration: { enabled: told.registers },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true, allowedPolicy: () => true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => {
        const format = told.opaque.includes(resource) ? "opaque" : "jwt";
        return { scope: told.scopes.join(" "), audience: resource, accessTokenFormat: format, jwt: { sign: { alg: "ES256" } } };
      },
    },
  },
  interactions: { policy, url: (_, interaction) => `/login/${interaction.uid}` },
});

// Token exchange (RFC 8693), which the provider leaves to whoever uses it: the subject's token must be this issuer's.
provider.registerGrantType(
  "urn:ietf:params:oauth:grant-type:token-exchange",
  async (ctx) => {
    const { subject_token: subject, resource, scope } = ctx.oidc.params;
    const said = JSON.parse(Buffer.from(subject.split(".")[1] ?? "", "base64url"));
    if (said.iss !== url || said.exp * 1000 < Date.now()) throw new errors.InvalidGrant();
    const { client } = ctx.oidc;
    ctx.exchanged = said.sub;
    const token = new provider.ClientCredentials({ client, scope });
    token.resourceServer = new provider.ResourceServer(resource, { scope: told.scopes.join(" "), audience: resource, accessTokenFormat: "opaque" });
    ctx.body = {
      access_token: await token.save(),
      issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
      token_type: "Bearer",
      expires_in: told.lifetime,
      scope,
    };
  },
  ["subject_token", "subject_token_type", "resource", "scope", "audience"],
);

provider.on("server_error", (_, error) => console.error(error));
const callback = provider.callback();
const server = createServer(async (request, response) => {
  const at = new URL(request.url, url);
  if (at.pathname.startsWith("/login/")) {
    // Whoever the test says is at the browser: the cookie `person` names them.
    const person = /(?:^|; )person=([^;]+)/.exec(request.headers.cookie ?? "")?.[1] ?? "nobody";
    const result = { login: { accountId: person } };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  } else {
    callback(request, response);
  }
});
server.listen(told.port, "127.0.0.1", () => console.log(url));
