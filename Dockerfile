# MyoGuard as a container: `docker compose` builds it. Nothing in it can be written to but /data, the
# store, /cache, what numba compiled, and /tmp.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# An older pip does not take hashes from a constraints file.
RUN pip install pip==26.3 && python -m venv --without-pip /opt/myoguard
WORKDIR /src
COPY pyproject.toml requirements.lock ./
# What runs, without the tools that are in the same lock: every version and hash is the lock's.
RUN python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > needed.txt \
    && pip --python /opt/myoguard install --require-hashes --only-binary :all: -r needed.txt -c requirements.lock \
    && echo hatchling > needed.txt \
    && pip install --require-hashes --only-binary :all: -r needed.txt -c requirements.lock
COPY README.md LICENSE ./
COPY pipeline pipeline
COPY devices devices
COPY dashboards dashboards
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/myoguard install --no-deps --no-index dist/*.whl

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin myoguard \
    && install --directory --owner myoguard --group myoguard --mode 0700 /data /cache
COPY --from=build /opt/myoguard /opt/myoguard
ENV PATH=/opt/myoguard/bin:$PATH \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp NUMBA_CACHE_DIR=/cache \
    MYOGUARD_STORE__DIRECTORY=/data/store \
    MYOGUARD_CALIBRATION__DIRECTORY=/data/calibration \
    MYOGUARD_PAGE__HOST=0.0.0.0 \
    MYOGUARD_PAGE__ACCOUNTS_FILE=/data/accounts.json
USER 10001:10001
VOLUME ["/data", "/cache"]
EXPOSE 8080
# Healthy is that guns are watched, not that a process lives. It compiles for half a minute before it
# answers the first time.
HEALTHCHECK --interval=10s --timeout=5s --start-period=180s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9464/ready', timeout=4)"]
ENTRYPOINT ["myoguard"]
CMD ["run"]
