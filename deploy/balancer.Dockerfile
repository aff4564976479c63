# The balancer: the official HAProxy image with Falx's configuration in it, so that no file of the host is mounted.
FROM haproxy:2.6-bookworm
LABEL org.opencontainers.image.title="Falx balancer" \
      org.opencontainers.image.description="HAProxy before the model servers of Falx." \
      org.opencontainers.image.licenses="Apache-2.0"
USER root
COPY haproxy.cfg /etc/falx/haproxy.cfg
RUN chmod 0644 /etc/falx/haproxy.cfg && haproxy -c -f /etc/falx/haproxy.cfg
# The uid of the official image's own user.
USER 99:99
EXPOSE 8001 8002 8404
# SIGUSR1: stop listening, finish what is in flight.
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=5s --timeout=4s --start-period=10s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8404 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && read -r line <&3 && [[ $line == *' 200 '* ]]"]
CMD ["haproxy", "-W", "-db", "-f", "/etc/falx/haproxy.cfg"]
