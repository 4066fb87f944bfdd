"""EM-INF: what happens to the logits of one decoding step. Needs torch and transformers only."""
