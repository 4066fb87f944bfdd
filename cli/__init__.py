"""The `em-hf` command line: one module a command, thin over `em_hf`."""
