"""Attribute-based GPU allocation for Kubernetes, on the resource.k8s.io/v1 API."""
