"""What is wrong with a cluster, why that matters, and what to do: `dra-operator doctor`."""
