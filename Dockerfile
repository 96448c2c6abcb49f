# The signaling server, with STUN, and coturn for `--relay`: see docs/how-to/run-a-signaling-server.md.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY signaling signaling
COPY tallow_cli tallow_cli
RUN python -m venv /opt/tallow \
 && /opt/tallow/bin/pip install --no-cache-dir --constraint requirements.lock .

FROM python:3.13-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends coturn \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/tallow /opt/tallow
ENV PATH=/opt/tallow/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER nobody
EXPOSE 8765/tcp 8765/udp
ENTRYPOINT ["tallow-signaling"]
CMD ["--host", ""]
