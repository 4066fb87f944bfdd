"""The `em-hf` command line: one module per command, a thin layer over `em_hf`."""
