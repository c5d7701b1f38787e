"""Work in other processes: pools, jobs of a cluster, commands."""
