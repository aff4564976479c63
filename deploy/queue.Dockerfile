# The queue of jobs: Redis as the distributions build it, run as Falx's own user on a volume that belongs to it.
FROM redis:7-bookworm
LABEL org.opencontainers.image.title="Falx queue" \
      org.opencontainers.image.description="Redis with the queue of Falx's jobs."
USER root
# A named volume takes over owner and rights of the folder that it is mounted on.
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/falx/queue
USER 10001:10001
EXPOSE 6379
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 CMD ["redis-cli", "ping"]
ENTRYPOINT []
# Every write is on the disk before it is answered: an accepted job survives the loss of power. No network but the
# stack's own reaches it, so it asks for no password.
CMD ["redis-server", "--bind", "*", "--protected-mode", "no", "--dir", "/var/lib/falx/queue", "--appendonly", "yes", \
     "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction"]
