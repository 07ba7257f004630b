"""Attribute-based GPU allocation for Kubernetes, on the resource.k8s.io/v1 API."""

__version__ = "0.1.0"
