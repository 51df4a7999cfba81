# Two stages: the first builds the environment from the hashed lock, the second holds nothing but it and the three packages.
FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements.lock .
RUN python -m venv /opt/drawbridge \
 && /opt/drawbridge/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY adapters adapters
COPY policies policies
RUN /opt/drawbridge/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation . \
 && find /opt/drawbridge -name __pycache__ -prune -exec rm -rf {} +

FROM python:3.13-slim
RUN useradd --system --uid 10640 --home-dir /data --create-home --shell /usr/sbin/nologin drawbridge \
 && install -d -o drawbridge -g drawbridge -m 0700 /data /config
COPY --from=build /opt/drawbridge /opt/drawbridge
ENV PATH=/opt/drawbridge/bin:$PATH DRAWBRIDGE_DATA=/data PYTHONUNBUFFERED=1
USER drawbridge
VOLUME ["/data"]
EXPOSE 8640
HEALTHCHECK --interval=10s --timeout=2s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8640/healthz', timeout=1)"]
# The configuration is mounted at /config; it must set gateway.host and gateway.public_url for others to reach it.
ENTRYPOINT ["drawbridge"]
CMD ["serve", "--config", "/config/gateway.yaml"]
