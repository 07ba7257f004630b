"""The container image of dra-operator, made without a container daemon and without pulling anything.

`python -m tools.image` writes an OCI archive: CPython and its libraries from the distribution's packages, the wheels of
requirements.lock, the program. The Containerfile at the root of the repository says the same for those who build with
podman, buildah or docker.
"""
