"""How the pocket models are made."""
