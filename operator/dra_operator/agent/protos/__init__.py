"""The kubelet's gRPC messages: `.proto` files written here, compiled by `tools/protos.py`, served by `services.py`."""
