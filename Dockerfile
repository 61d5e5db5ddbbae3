# One image for every part: the consumer, the query service, MLflow's server, and scripts.
FROM python:3.12-slim

COPY . /src
RUN pip install --no-cache-dir "/src[librdkafka]" && rm -rf /src \
    && useradd --create-home --uid 1000 ledger \
    && mkdir /home/ledger/state && chown ledger /home/ledger/state

USER ledger
WORKDIR /home/ledger
ENV MLFLOW_LEDGER_HOME=/home/ledger/state
VOLUME /home/ledger/state

CMD ["mlflow-ledger", "--help"]
