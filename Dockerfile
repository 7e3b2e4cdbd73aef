# hamlet as an image. BASE needs python3 of 3.11 or newer with venv, and ca-certificates; `make image` makes one of Debian's packages.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
SHELL ["/bin/sh", "-euc"]
WORKDIR /src
COPY requirements/image-build.txt requirements/image.txt requirements/
# Two environments: one that builds, and the one that is shipped, which has no installer in it.
RUN python3 -m venv /opt/build \
 && /opt/build/bin/python -m pip install --no-cache-dir --require-hashes --only-binary=:all: -r requirements/image-build.txt \
 && python3 -m venv --without-pip /opt/hamlet \
 && /opt/build/bin/python -m pip --python /opt/hamlet/bin/python install \
    --no-cache-dir --require-hashes --only-binary=:all: --compile -r requirements/image.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/build/bin/python -m pip --python /opt/hamlet/bin/python install --no-cache-dir --no-deps --no-index --compile /wheels/*.whl \
 && PATH=/opt/build/bin:$PATH cyclonedx-py environment --output-reproducible --spec-version 1.6 \
    --pyproject pyproject.toml --output-file /opt/hamlet/sbom.cdx.json /opt/hamlet/bin/python

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="hamlet" \
      org.opencontainers.image.description="An async LLM serving gateway" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/hamlet /opt/hamlet
ENV PATH=/opt/hamlet/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /etc/hamlet
USER 10001:10001
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["python3", "-m", "hamlet.healthcheck"]
ENTRYPOINT ["hamlet"]
CMD ["serve", "--host", "0.0.0.0", "--config", "/etc/hamlet/hamlet.yaml"]
