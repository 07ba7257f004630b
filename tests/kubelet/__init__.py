"""The agent under a real kubelet: containerd runs the user's pods with what the agent prepared for them. Needs root."""
