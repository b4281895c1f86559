"""What starts runs: jobs, and the plan of runs that materialises the whole graph."""
