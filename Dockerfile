# Three images from one file; they share every layer but the last few hundred kilobytes.
#
#   docker build --target coordinator -t fedsms-coordinator .
#   docker build --target node        -t fedsms-node .
#   docker build --target setup       -t fedsms-setup .      # makes certificates, deals out data
#
# Wheels in wheels/ are taken where they fit; with all of them there, --build-arg PIP_NO_INDEX=1 asks
# no package index.
# --build-arg REVISION=$(git rev-parse HEAD) and SOURCE=URL say in the images' labels what they were made of.
# --build-arg EXTRAS="metrics tensorboard" adds what requirements-metrics.txt and -tensorboard.txt name, to
# those images that can use it (scripts/images/extras.py); tables, mlflow and report are the others.
# Any slim image of Python 3.11 to 3.14 will do: --build-arg BASE=python:3.13-slim-bookworm
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS packages
WORKDIR /fedsms
# requirements.txt stands in for wheels/, which need not be there
COPY requirements.txt wheel[s] wheels/
COPY requirements.txt ./
COPY scripts/_environment.sh scripts/
ARG PIP_NO_INDEX
RUN bash -c 'source scripts/_environment.sh && fedsms_environment requirements.txt'
# What training and serving never open (scripts/images/slim.py), and the installers; --build-arg SLIM=0
# keeps the former, for whoever builds further on these images.
# pip goes aside, for the setup image downloads with it. Bytecode is made for what is imported here;
# without it, every start of a read-only container would compile for seconds.
COPY scripts/images/slim.py scripts/images/
ARG SLIM=1
RUN if [ "$SLIM" != 0 ]; then python3 scripts/images/slim.py .venv/lib/python3.*/site-packages; fi \
    && cd .venv/lib/python3.*/site-packages \
    && mkdir /pip && mv pip /pip/ \
    && rm -rf pip-* uv uv-* ../../../bin/pip* ../../../bin/uv* ../../../installed \
    && find . /pip -name __pycache__ -prune -exec rm -rf {} + \
    && ../../../bin/python -W ignore -m compileall -q -j 0 \
         -x '/(networkx|setuptools|tests)/|/py312_' .

FROM ${BASE} AS runtime
# The base image's own installer has no use here, nor programs that run with their owner's rights.
RUN find / -xdev -perm /6000 -type f -exec chmod a-s {} + \
    && rm -rf "$(python3 -c 'import pip; print(*pip.__path__)')" \
    && rm -f /usr/bin/pip* /usr/local/bin/pip*
RUN groupadd --gid 10001 fedsms \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin fedsms
COPY --from=packages /fedsms/.venv /fedsms/.venv
ENV PATH=/fedsms/.venv/bin:$PATH \
    PYTHONPATH=/fedsms \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LANG=C.UTF-8 \
    HOME=/tmp
COPY scripts/as_owner_of /usr/local/bin/
# Python's own bytecode, which official images come without, for the same reason
RUN python -W ignore -m compileall -q -j 0 \
      -x '/(ensurepip|idlelib|lib2to3|site-packages|dist-packages|test|tests|tkinter|turtledemo)/' \
      "$(python -c 'import os; print(os.path.dirname(os.__file__))')"
RUN mkdir -m 0700 /identity /audit && mkdir /data /runs \
    && chown fedsms:fedsms /identity /audit /data /runs
# Run folders are told as they are called on the host: runs/<time>-<name>
WORKDIR /
LABEL org.opencontainers.image.title="fedsms" \
      org.opencontainers.image.description="Federated learning of an SMS spam classifier" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM runtime AS setup
COPY --from=packages /pip /pip
ENV PYTHONPATH=/fedsms:/pip
COPY shared/ /fedsms/shared/
COPY server/ /fedsms/server/
COPY worker_node/ /fedsms/worker_node/
COPY scripts/ /fedsms/scripts/
RUN python -m compileall -q -j 0 /fedsms/shared /fedsms/server /fedsms/worker_node /fedsms/scripts
ARG REVISION
ARG SOURCE
LABEL org.opencontainers.image.title="fedsms-setup" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"
USER 10001:10001
ENTRYPOINT ["python"]

FROM packages AS node-extras
COPY requirements-*.txt ./
COPY scripts/images/extras.py scripts/images/
ARG PIP_NO_INDEX
ARG EXTRAS
RUN PYTHONPATH=/pip .venv/bin/python scripts/images/extras.py node "$EXTRAS" /extras

FROM runtime AS node
ENV FEDSMS_IMAGE=node \
    FEDSMS_DATA=/data \
    FEDSMS_IDENTITY=/identity \
    FEDSMS_AUDIT_LOG=/audit/audit.jsonl \
    FEDSMS_COUNTS=/audit/counts.json \
    FEDSMS_HOST=0.0.0.0 \
    FEDSMS_HEALTH_SOCKET=/tmp/health.sock
COPY --from=node-extras /extras/ /fedsms/.venv/
COPY shared/ /fedsms/shared/
COPY worker_node/ /fedsms/worker_node/
RUN python -m compileall -q -j 0 /fedsms/shared /fedsms/worker_node
ARG REVISION
ARG SOURCE
LABEL org.opencontainers.image.title="fedsms-node" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"
USER 10001:10001
EXPOSE 8777
HEALTHCHECK --interval=10s --timeout=10s --start-period=300s --retries=3 \
    CMD ["python", "-m", "worker_node", "health"]
ENTRYPOINT ["python", "-m", "worker_node"]
CMD ["serve"]

FROM packages AS coordinator-extras
COPY requirements-*.txt ./
COPY scripts/images/extras.py scripts/images/
ARG PIP_NO_INDEX
ARG EXTRAS
RUN PYTHONPATH=/pip .venv/bin/python scripts/images/extras.py coordinator "$EXTRAS" /extras

FROM runtime AS coordinator
ENV FEDSMS_IMAGE=coordinator \
    FEDSMS_IDENTITY=/identity
COPY --from=coordinator-extras /extras/ /fedsms/.venv/
COPY shared/ /fedsms/shared/
COPY server/ /fedsms/server/
RUN python -m compileall -q -j 0 /fedsms/shared /fedsms/server
ARG REVISION
ARG SOURCE
LABEL org.opencontainers.image.title="fedsms-coordinator" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"
USER 10001:10001
ENTRYPOINT ["as_owner_of", "runs", "python", "-m", "server"]
CMD ["train"]
