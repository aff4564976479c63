"""The networks and the recipe of the paper that Falx set out from, for comparison."""
