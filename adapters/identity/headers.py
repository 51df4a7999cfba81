"""Headers by which proxies tell applications who the caller is. Here nobody is believed: they are stripped."""

IDENTITY_HEADERS: frozenset[bytes] = frozenset(
    {
        b"remote-user",
        b"remote-groups",
        b"remote-name",
        b"remote-email",
        b"impersonate-user",
        b"impersonate-group",
        b"impersonate-uid",
        b"client-cert",
        b"client-cert-chain",
        b"x-forwarded-user",
        b"x-forwarded-email",
        b"x-forwarded-groups",
        b"x-forwarded-roles",
        b"x-forwarded-preferred-username",
        b"x-forwarded-access-token",
        b"x-forwarded-client-cert",
        b"x-forwarded-tenant",
        b"x-client-cert",
        b"x-client-dn",
        b"x-user",
        b"x-user-id",
        b"x-user-email",
        b"x-user-name",
        b"x-user-roles",
        b"x-username",
        b"x-email",
        b"x-groups",
        b"x-roles",
        b"x-role",
        b"x-scopes",
        b"x-tenant",
        b"x-tenant-id",
        b"x-org-id",
        b"x-principal",
        b"x-subject",
        b"x-identity",
        b"x-original-user",
        b"x-real-user",
        b"x-proxy-user",
        b"x-consumer",
        b"x-anonymous-consumer",
        b"x-goog-iap-jwt-assertion",
        b"x-spiffe-id",
        b"x-jwt-assertion",
        b"x-jwt-payload",
        b"x-token-payload",
        b"x-userinfo",
        b"x-id-token",
        b"x-access-token",
    }
)
"""Exact names, lower case, with hyphens."""

IDENTITY_PREFIXES: tuple[bytes, ...] = (
    b"x-auth-",
    b"x-authenticated-",
    b"x-authentik-",
    b"x-remote-",
    b"x-webauth-",
    b"x-consumer-",
    b"x-credential-",
    b"x-goog-authenticated-user-",
    b"x-amzn-oidc-",
    b"x-ms-client-principal",
    b"x-ms-token-",
    b"x-pomerium-",
    b"x-vouch-",
    b"x-ssl-client-",
    b"ssl-client-",
    b"x-tls-client-",
    b"cf-access-",
    b"tailscale-user-",
    b"impersonate-extra-",
    b"x-drawbridge-",
)
"""Beginnings of names, lower case, with hyphens."""


def is_identity_header(name: bytes) -> bool:
    """Whether a header of this name claims to say who the caller is. Underscores count as hyphens, as in CGI."""
    plain = name.lower().replace(b"_", b"-")
    return plain in IDENTITY_HEADERS or plain.startswith(IDENTITY_PREFIXES)
