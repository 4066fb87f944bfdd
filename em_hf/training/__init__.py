"""Training with entropy as the objective: EM-FT, EM-RL, and the methods they are compared with."""
