# One image for every process: docker run voltbay api | gateway | worker | beat | relay | migrate | simulate | …
# Needs BuildKit (the default of `docker build` since 23; before it: DOCKER_BUILDKIT=1).
#
# Behind a proxy that signs with its own authority, or with a package index of your own (files stay out of the image):
#   docker build --secret id=ca,src=ca-bundle.pem --secret id=uv,src=uv.toml --secret id=pip,src=pip.conf -t voltbay .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /app
ENV PYTHONDONTWRITEBYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_NO_PROGRESS=1 VIRTUAL_ENV=/opt/venv

# uv in an environment of its own, which stays behind in this stage.
COPY scripts/uv.lock.txt scripts/uv.lock.txt
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip --mount=type=cache,target=/root/.cache \
    if [ -f /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    if [ -f /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi; \
    python -m venv /opt/tools \
    && /opt/tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r scripts/uv.lock.txt

# requirements.lock pins every extra; as constraints it pins, with its hashes, only what is asked for here:
# neither the development tools nor the embedded servers.
COPY pyproject.toml requirements.lock README.md LICENSE ./
RUN --mount=type=secret,id=ca --mount=type=secret,id=uv --mount=type=cache,target=/root/.cache \
    if [ -f /run/secrets/ca ]; then export SSL_CERT_FILE=/run/secrets/ca; fi; \
    if [ -f /run/secrets/uv ]; then export UV_CONFIG_FILE=/run/secrets/uv; fi; \
    /opt/tools/bin/uv venv --python "$(command -v python3)" /opt/venv \
    && /opt/tools/bin/uv pip install --require-hashes --constraints requirements.lock --only-binary :all: \
        --requirements pyproject.toml --extra monitoring

# The sources stay below /app, as in a checkout; the environment points to them. What builds that pointer is locked too.
COPY . .
RUN --mount=type=secret,id=ca --mount=type=secret,id=uv --mount=type=cache,target=/root/.cache \
    if [ -f /run/secrets/ca ]; then export SSL_CERT_FILE=/run/secrets/ca; fi; \
    if [ -f /run/secrets/uv ]; then export UV_CONFIG_FILE=/run/secrets/uv; fi; \
    /opt/tools/bin/uv pip install --no-deps --build-constraints requirements.lock --editable . \
    && python -m compileall -q -j 0 /opt/venv/lib /app

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Voltbay" \
      org.opencontainers.image.description="Open backend for fleets of power-bank charging cabinets" \
      org.opencontainers.image.licenses="Apache-2.0"
ARG VERSION=unreleased
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"

# The only folder that a process writes to besides /tmp: mount a volume or a tmpfs there and make the rest read-only.
RUN groupadd --system --gid 10001 voltbay \
    && useradd --system --uid 10001 --gid voltbay --home-dir /var/lib/voltbay --shell /usr/sbin/nologin voltbay \
    && install -d -o voltbay -g voltbay -m 0750 /var/lib/voltbay
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VOLTBAY_HOME=/var/lib/voltbay \
    VOLTBAY_HTTP_HOST=0.0.0.0 \
    VOLTBAY_LOG_JSON=true
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["voltbay"]
CMD ["--help"]
