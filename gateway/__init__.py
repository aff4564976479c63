"""The public face of Falx: keys, limits, deadlines, routing and the page for people. It touches no pixels."""
