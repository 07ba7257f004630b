"""Faults on a real cluster, and what must hold all the same: `python -m tests.chaos` (`make chaos`).

A real etcd, API server, controller manager and scheduler; two replicas of the operator and an agent on every node, all
of them behind proxies that lose, delay and refuse; users who come and go. Parts are killed at random. An observer reads
every revision from etcd itself, so that no outage hides anything from it.
"""
