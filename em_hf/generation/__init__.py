"""EM-INF: processing of the logits at each decoding step. Needs only torch and transformers."""
