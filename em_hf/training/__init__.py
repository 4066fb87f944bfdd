"""Training with entropy as the objective: EM-FT here, on transformers' Trainer."""
