# syntax=docker/dockerfile:1
# guided-dip in a container: docs/docker.md.
#   docker build -t guided-dip .
#   docker build -t guided-dip:cpu --build-arg TORCH_INDEX=ADDRESS .

FROM python:3.11-slim-bookworm AS build
# Where else PyTorch may come from, such as its index of builds for the CPU, a tenth of the size.
ARG TORCH_INDEX
# The checkout's tags are left outside, so the version is told.
ARG VERSION=0.0
ENV SETUPTOOLS_SCM_PRETEND_VERSION_FOR_GUIDED_DIP=$VERSION
WORKDIR /source
RUN python -m venv /opt/guided-dip
COPY constraints.txt ./
# PyTorch in a layer of its own, as it changes seldom and is most of the weight.
RUN /opt/guided-dip/bin/python -m pip install --no-cache-dir --constraint constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch
COPY pyproject.toml README.md LICENSE ./
COPY docs/guided-dip.1 docs/
COPY src src
RUN /opt/guided-dip/bin/python -m pip install --no-cache-dir --constraint constraints.txt '.[fits]'

FROM python:3.11-slim-bookworm
COPY --from=build /opt/guided-dip /opt/guided-dip
# Whichever user it runs as, there is a place for what matplotlib keeps.
ENV PATH=/opt/guided-dip/bin:$PATH HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
RUN useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin restorer
USER 1000
WORKDIR /data
ENTRYPOINT ["guided-dip"]
CMD ["--help"]
