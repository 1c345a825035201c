# The image of fastroute: a virtual environment on a slim Python, no build tools, no root.
#
#   docker build -t fastroute .
#   docker run -p 8888:8888 -v ./my-servers:/app:ro fastroute
#
# The folder my-servers has servers.toml. See docs/deployment.md.
ARG PYTHON_IMAGE=docker.io/library/python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# The hot path is compiled; the base image has Python's headers.
RUN ["sh", "-c", "apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev"]
WORKDIR /src
# One environment for the build, one that is shipped; pip is only in the first.
RUN ["python3", "-m", "venv", "/opt/build"]
RUN ["python3", "-m", "venv", "--without-pip", "/opt/fastroute"]
COPY deploy/image/build.lock deploy/image/requirements.lock ./
# Dependencies first: a change of the code does not download them again.
RUN ["/opt/build/bin/pip", "install", "--no-cache-dir", "--require-hashes", "--requirement", "build.lock"]
RUN ["/opt/build/bin/pip", "--python", "/opt/fastroute/bin/python", "install", "--no-cache-dir", \
     "--require-hashes", "--only-binary", ":all:", "--requirement", "requirements.lock"]
COPY pyproject.toml hatch_build.py build_types.py README.md LICENSE ./
COPY fastroute fastroute
# This fails without a working compiler: a slow image is not built by accident.
RUN ["env", "FASTROUTE_COMPILED=1", "/opt/build/bin/hatchling", "build", "--target", "wheel"]
RUN ["/opt/build/bin/pip", "--python", "/opt/fastroute/bin/python", "install", "--no-cache-dir", \
     "--no-deps", "--no-index", "--find-links", "dist", "fastroute"]

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="fastroute" \
      org.opencontainers.image.description="One OpenAI-compatible address for many vLLM servers" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/fastroute /opt/fastroute
# FASTROUTE_LIVEZ: URL of the health check; change it together with admin_port or --port.
ENV PATH=/opt/fastroute/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FASTROUTE_LIVEZ=http://127.0.0.1:8888/livez
# The whole folder of servers.toml, so that a replaced file is seen.
WORKDIR /app
# A number, because Kubernetes cannot tell from a name that it is not root.
USER 10001:10001
EXPOSE 8888
# Alive, not ready: to restart fastroute because all vLLM servers are down would mend none of them.
HEALTHCHECK --interval=15s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-I", "-S", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open(os.environ['FASTROUTE_LIVEZ'], timeout=3)"]
# It drains: answers in flight finish within drain_timeout. Give `docker stop` more than that.
STOPSIGNAL SIGTERM
# No shell in between, or the signal would end there.
ENTRYPOINT ["fastroute"]
CMD ["run", "--config", "/app/servers.toml"]
