"""How Falx is run: the supervisor behind ``make run``, the container images and the balancer."""
