"""Parts of the serving benchmarks: the load generator, and the servers that are compared. Programs lie a folder up."""
