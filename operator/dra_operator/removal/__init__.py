"""Taking the operator out of a cluster: `dra-operator uninstall`."""
