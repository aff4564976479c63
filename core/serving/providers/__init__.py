"""Which provider serves each graph, chosen behind what serves meanwhile."""
