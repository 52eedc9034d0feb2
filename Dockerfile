# Build it with BuildKit, Docker's own builder since 23.0: it is what keeps the interpreter's capability in the last step.
FROM python:3.13-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends libcap2-bin
WORKDIR /src
COPY requirements requirements
RUN pip install --no-cache-dir --require-hashes --requirement requirements/build.txt
COPY . .
RUN PIP_NO_CACHE_DIR=1 python tools/image.py /image

FROM scratch
COPY --from=build /image /
# Nothing is imported from where it is started, from a home, or written beside what is imported.
ENV PYTHONSAFEPATH=1 PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /
EXPOSE 53 53/udp
# The capable interpreter itself: started by a shell or a wrapper, it would not get its capability.
ENTRYPOINT ["/opt/kubedns/bin/python", "-m", "kubedns"]
