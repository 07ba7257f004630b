"""The agent as its kubelet meets it: real gRPC over real sockets, real files; the API server is a small one."""
