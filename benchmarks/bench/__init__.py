"""The report of `make bench`: em-hf beside its alternatives, each pair measured in the same run."""
