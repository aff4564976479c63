"""What every HTTP service shares: app shell, settings, bodies, problems, deadlines. Free of numpy, as gateways are."""
