# Z Darkroom on a CPU or an NVIDIA GPU. PyTorch's wheels for Linux contain CUDA; the host needs the NVIDIA Container Toolkit.
#   docker compose up                      CPU
#   docker compose --profile cuda up cuda  GPU
FROM python:3.12-slim

ENV ZDARKROOM_HOME=/data \
    PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1

RUN useradd --create-home --uid 1000 darkroom \
    && mkdir /data \
    && chown darkroom:darkroom /data
WORKDIR /app
COPY requirements.txt ./
RUN pip install --requirement requirements.txt
COPY --chown=root:root . .
USER 1000
VOLUME /data
EXPOSE 8501
# The container's own address is not loopback: without a token or a user the app refuses to start.
ENV ZDARKROOM_SERVER__HOST=0.0.0.0 \
    PYTHONPATH=/app
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD ["python", "-m", "ui.serve"]
