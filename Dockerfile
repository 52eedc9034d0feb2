FROM python:3.13-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends libcap2-bin
# Copies, not links: the capability belongs to this server's own interpreter.
RUN python -m venv --copies /opt/kubedns
WORKDIR /src
COPY requirements/build.txt requirements/run.txt requirements/
RUN pip install --no-cache-dir --require-hashes --requirement requirements/build.txt \
    && /opt/kubedns/bin/pip install --no-cache-dir --no-compile --require-hashes --requirement requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY kubedns kubedns
COPY plugins plugins
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/kubedns/bin/pip install --no-cache-dir --no-compile --no-deps dist/*.whl \
    && /opt/kubedns/bin/python -m pip uninstall --yes pip \
    && /opt/kubedns/bin/python -m compileall -q /opt/kubedns/lib \
    && setcap cap_net_bind_service=+ep /opt/kubedns/bin/python3.13

FROM python:3.13-slim
COPY --from=build /opt/kubedns /opt/kubedns
ENV PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /
EXPOSE 53 53/udp
ENTRYPOINT ["/opt/kubedns/bin/python3.13", "-m", "kubedns"]
